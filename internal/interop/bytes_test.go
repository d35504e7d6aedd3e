package interop

import (
	"strings"
	"testing"
	"time"
)

// hard is what a round through JavaScript or through maps and floats would change.
const hard = `"big":9007199254740993,"one":1.0,"exp":1E+2,"z":{"b":1,"a":2},"10":"ten","2":"two",` +
	`"u":"` + "\u2028\u2029" + ` ☃ 😀 <&>\u00e9\/","lone":"\ud83d","empty":{},"list":[1.10, null ,{"y":1,"x":[]}],"":0`

// bytesSurvive changes one key of what somebody else has written.
func bytesSurvive(t *testing.T, p *pair) {
	for _, cookie := range []string{
		`{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"}`,
		`{"originalMaxAge":false,"expires":false,"httpOnly":true,"path":"/"}`,
		`{"originalMaxAge":null,"partitioned":true,"priority":"high","expires":null,"secure":false,"httpOnly":true,"domain":"127.0.0.1","path":"/","sameSite":"strict"}`,
		`{}`,
	} {
		id, b := p.plant(`{"cookie":`+cookie+`,`+hard+`,"passport":{"user":"tj","more":1.0},"n":1}`, time.Now().Add(time.Hour))
		if got := b.get(p.ours); got.Subject != "tj" {
			t.Errorf("to us the session with cookie %s is that of %q", cookie, got.Subject)
		}
		b.post(p.ours, "/add?key=n", "")
		b.post(p.ours, "/set", `{"new":"last"}`)
		text, _, _ := p.rows.read(t, id)
		_, text, _ = strings.Cut(text, `},`)
		if want := hard + `,"passport":{"user":"tj","more":1.0},"n":2,"new":"last"}`; text != want {
			t.Errorf("with cookie %s we leave\n%s, want\n%s", cookie, text, want)
		}
		if got := b.get(p.express); got.Name != "tj" {
			t.Errorf("with cookie %s Express then takes the browser for %+v", cookie, got)
		}
	}

	// What stands in front of the cookie stays there, and so does a false.
	id, b := p.plant(`{"a":1.0,"cookie":{"originalMaxAge":false,"expires":false,"httpOnly":true,"path":"/"},"b":2}`, time.Now().Add(time.Hour))
	b.post(p.ours, "/set", `{"b":3}`)
	text, _, _ := p.rows.read(t, id)
	if want := `{"a":1.0,"cookie":{"originalMaxAge":false,"expires":false,"httpOnly":true,"path":"/"},"b":3}`; text != want {
		t.Errorf("we leave\n%s, want\n%s", text, want)
	}
}
