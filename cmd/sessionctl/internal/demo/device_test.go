package demo

import (
	"slices"
	"strings"
	"testing"
)

func TestDeviceOf(t *testing.T) {
	const like = "AppleWebKit/537.36 (KHTML, like Gecko) "
	for _, c := range []struct {
		name, userAgent string
		want            string
		kind            kind
	}{
		{"Firefox on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Windows", computer},
		{"Firefox on Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux", computer},
		{"Firefox on an Android phone", "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox 140 on Android", phone},
		{"Firefox on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "Firefox 140 on iPhone", phone},
		{"Chrome on macOS", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) " + like + "Chrome/137.0.0.0 Safari/537.36", "Chrome 137 on macOS", computer},
		{"Chrome on a phone", "Mozilla/5.0 (Linux; Android 10; K) " + like + "Chrome/137.0.0.0 Mobile Safari/537.36", "Chrome 137 on Android", phone},
		{"Chrome on a tablet", "Mozilla/5.0 (Linux; Android 10; K) " + like + "Chrome/137.0.0.0 Safari/537.36", "Chrome 137 on Android", tablet},
		{"Chrome on a Chromebook", "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) " + like + "Chrome/137.0.0.0 Safari/537.36", "Chrome 137 on ChromeOS", computer},
		{"Chrome without a screen", "Mozilla/5.0 (X11; Linux x86_64) " + like + "HeadlessChrome/137.0.0.0 Safari/537.36", "Chrome 137 on Linux", computer},
		{"Edge, which says that it is Chrome", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + like + "Chrome/137.0.0.0 Safari/537.36 Edg/137.0.3296.62", "Edge 137 on Windows", computer},
		{"Opera, which does so too", "Mozilla/5.0 (X11; Linux x86_64) " + like + "Chrome/134.0.0.0 Safari/537.36 OPR/119.0.0.0", "Opera 119 on Linux", computer},
		{"Safari on macOS", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", "Safari 18 on macOS", computer},
		{"Safari on an iPad", "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari 18 on iPad", tablet},
		{"a program", "curl/8.14.1", "curl", program},
		{"a browser that nobody knows", "Mozilla/5.0 (Windows NT 10.0) Strange/1.0", "A browser on Windows", computer},
		{"a browser without a system", "Firefox/140.0", "Firefox 140", unknown},
		{"a browser without a version", "Mozilla/5.0 (Windows NT 10.0) Firefox/x", "Firefox on Windows", computer},
		{"nothing", "", "An unknown device", unknown},
		{"markup", "<script>alert(1)</script>", "An unknown device", unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := deviceOf(c.userAgent); got.String() != c.want || got.Kind != c.kind {
				t.Errorf("deviceOf(%q) = %q, %q; want %q, %q", c.userAgent, got, got.Kind, c.want, c.kind)
			}
		})
	}
}

// FuzzDeviceOf checks that nothing of what a client sends comes out but digits.
func FuzzDeviceOf(f *testing.F) {
	for _, seed := range []string{"", "Firefox/140.0", "Mozilla/5.0 (Linux; Android 10) Chrome/137 Mobile Safari/1", "Version/18 Safari/", "curl/8", "Edg/\xff", strings.Repeat("Linux", 200)} {
		f.Add(seed)
	}
	names := []string{"", "Safari"}
	for _, b := range slices.Concat(browsers, programs) {
		names = append(names, b.name)
	}
	systemNames := []string{""}
	for _, s := range systems {
		systemNames = append(systemNames, s.name)
	}
	kinds := []kind{computer, phone, tablet, program, unknown}
	f.Fuzz(func(t *testing.T, userAgent string) {
		d := deviceOf(userAgent)
		name := strings.TrimRight(strings.TrimRight(d.Browser, "0123456789"), " ")
		if !slices.Contains(names, name) || !slices.Contains(systemNames, d.System) || !slices.Contains(kinds, d.Kind) {
			t.Fatalf("deviceOf(%q) = %+v", userAgent, d)
		}
		if len(d.String()) > 50 {
			t.Fatalf("deviceOf(%q) is long: %q", userAgent, d)
		}
	})
}
