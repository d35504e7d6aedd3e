package demo

import "strings"

// A device is what a User-Agent header tells, coarsely: enough to recognise
// one's own phone in a list, and nothing that is worth stealing.
type device struct {
	Browser string `json:"browser"` // "Firefox 140", or "" if it is not known
	System  string `json:"system"`  // "Windows", or ""
	Kind    kind   `json:"kind"`
}

// A kind is the sort of thing that a device is.
type kind string

const (
	computer kind = "computer"
	phone    kind = "phone"
	tablet   kind = "tablet"
	program  kind = "program"
	unknown  kind = ""
)

// String describes the device in a few words.
func (d device) String() string {
	switch {
	case d.Browser != "" && d.System != "":
		return d.Browser + " on " + d.System
	case d.Browser != "":
		return d.Browser
	case d.System != "":
		return "A browser on " + d.System
	}
	return "An unknown device"
}

// browsers lists what User-Agent headers call browsers. The order matters: most
// claim to be others too, Edge to be Chrome and Chrome to be Safari.
var browsers = []struct{ mark, name string }{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"OPT/", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"Vivaldi/", "Vivaldi"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"},
}

var programs = []struct{ mark, name string }{
	{"curl/", "curl"}, {"Wget/", "Wget"}, {"Go-http-client/", "A Go program"}, {"python-requests/", "A Python program"},
}

// systems is ordered as well: Android is a Linux, and an iPhone says that it is
// like a Mac.
var systems = []struct {
	mark, name string
	kind       kind
}{
	{"iPhone", "iPhone", phone},
	{"iPad", "iPad", tablet},
	{"Android", "Android", tablet},
	{"CrOS", "ChromeOS", computer},
	{"Windows", "Windows", computer},
	{"Macintosh", "macOS", computer},
	{"Linux", "Linux", computer},
}

// maxUserAgent is how much of the header is looked at.
const maxUserAgent = 512

// deviceOf tells what a User-Agent header is the header of. What it returns are
// words of the tables above and digits, whatever the header says.
func deviceOf(userAgent string) device {
	userAgent = userAgent[:min(len(userAgent), maxUserAgent)]
	for _, p := range programs {
		if strings.HasPrefix(userAgent, p.mark) {
			return device{Browser: p.name, Kind: program}
		}
	}
	var d device
	for _, s := range systems {
		if strings.Contains(userAgent, s.mark) {
			d.System, d.Kind = s.name, s.kind
			break
		}
	}
	if d.System == "Android" && strings.Contains(userAgent, "Mobile") {
		d.Kind = phone // tablets leave this word out
	}
	for _, b := range browsers {
		if _, rest, ok := strings.Cut(userAgent, b.mark); ok {
			d.Browser = withVersion(b.name, rest)
			return d
		}
	}
	// Only Safari writes its version in this place.
	if _, rest, ok := strings.Cut(userAgent, "Version/"); ok && strings.Contains(rest, "Safari/") {
		d.Browser = withVersion("Safari", rest)
	}
	return d
}

// withVersion appends the main version, the digits at the beginning of text.
func withVersion(name, text string) string {
	digits := 0
	for digits < len(text) && digits < 4 && '0' <= text[digits] && text[digits] <= '9' {
		digits++
	}
	if digits == 0 {
		return name
	}
	return name + " " + text[:digits]
}
