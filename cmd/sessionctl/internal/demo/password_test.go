package demo

import (
	"strings"
	"testing"
)

func TestPassword(t *testing.T) {
	p := newPasswords()
	hash, err := p.hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the hash is %s", hash)
	}
	again, err := p.hash(t.Context(), goodPassword)
	if err != nil || hash == again {
		t.Errorf("two hashes of one password are the same: %v", err)
	}
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"the password", hash, goodPassword, true},
		{"another password", hash, goodPassword + " ", false},
		{"no password", hash, "", false},
		{"the hash of nobody", unmatchable(), goodPassword, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := p.verify(t.Context(), c.hash, c.password); err != nil || got != c.want {
				t.Errorf("verify = %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// The hash is one that the reference implementation made:
// echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32 -e.
func TestPasswordOfTheReference(t *testing.T) {
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := newPasswords().verify(t.Context(), hash, "password"); err != nil || !ok {
		t.Errorf("verify = %v, %v", ok, err)
	}
}

func TestParsePHC(t *testing.T) {
	const salt, sum = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	const good = "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + sum
	if h, err := parsePHC(good); err != nil || h.String() != good {
		t.Fatalf("parsePHC(%q) = %s, %v", good, h, err)
	}
	for _, c := range []struct{ name, text string }{
		{"nothing", ""},
		{"another function", "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + sum},
		{"another version", "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum},
		{"too much memory", "$argon2id$v=19$m=999999999,t=2,p=1$" + salt + "$" + sum},
		{"too many rounds", "$argon2id$v=19$m=19456,t=99,p=1$" + salt + "$" + sum},
		{"no round", "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + sum},
		{"no threads", "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + sum},
		{"a negative number", "$argon2id$v=19$m=19456,t=2,p=-1$" + salt + "$" + sum},
		{"parameters in another order", "$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + sum},
		{"a parameter too few", "$argon2id$v=19$m=19456,t=2$" + salt + "$" + sum},
		{"no salt", "$argon2id$v=19$m=19456,t=2,p=1$$" + sum},
		{"a short sum", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA"},
		{"no sum", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$"},
		{"text that is not base64", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("!", 43)},
		{"something after it", good + "$"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if h, err := parsePHC(c.text); err == nil {
				t.Errorf("parsePHC(%q) = %s", c.text, h)
			}
		})
	}
}
