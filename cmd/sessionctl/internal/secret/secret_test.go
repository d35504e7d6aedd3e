package secret

import (
	"encoding/base64"
	"testing"
)

func TestNew(t *testing.T) {
	a, b := New(), New()
	if a == b {
		t.Error("two secrets are the same")
	}
	if raw, err := base64.StdEncoding.DecodeString(a); err != nil || len(raw) != 33 {
		t.Errorf("a secret is %d bytes of base64, want 33: %v", len(raw), err)
	}
}
