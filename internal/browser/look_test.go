package browser

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// screenshots is where pictures of all pages are put, if it is set, for people
// to look at.
var screenshots = os.Getenv("SESSION_SCREENSHOTS")

var screens = []struct {
	name          string
	scheme        string
	width, height int64
}{
	{"light", "light", 1200, 900},
	{"dark", "dark", 1200, 900},
	{"phone", "light", 360, 740},
	{"phone dark", "dark", 360, 740},
}

func TestLook(t *testing.T) {
	s := startServer(t)
	visit(t, s).signUp("somebody_with_a_rather_long_name")
	for _, screen := range screens {
		t.Run(screen.name, func(t *testing.T) {
			v := visit(t, s)
			v.prefer(screen.scheme)
			v.do(chromedp.EmulateViewport(screen.width, screen.height))
			look := func(path, name string) {
				t.Helper()
				v.open(path)
				v.check(screen.scheme)
				v.screenshot(screen.name + " " + name)
			}
			look("/inspect", "inspector of nobody")
			look("/signup", "sign up")
			v.enter("#name", "somebody_with_a_rather_long_name")
			v.enter("#password", password)
			v.press("main form button")
			v.check(screen.scheme)
			v.screenshot(screen.name + " sign up again")
			v.open("/")
			v.enter("#note", "Bring the blue coat. And a very long word: Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen")
			v.press("main form button")
			v.signIn("somebody_with_a_rather_long_name")
			v.screenshot(screen.name + " members")
			look("/", "home")
			look("/members", "members again")
			look("/sessions", "sessions")
			look("/inspect", "inspector")
			look("/nothing", "not found")
		})
	}
}

// check checks what a visitor would see at once: that the page is as bright as
// he likes, and that he need not scroll sideways.
func (v *visitor) check(scheme string) {
	v.t.Helper()
	where := get(v, chromedp.Location())
	if over := eval[int](v, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
		v.t.Errorf("%s is %d pixels wider than the screen", where, over)
	}
	const brightness = `(property) => {
	const [r, g, b] = getComputedStyle(document.body)[property].match(/\d+/g).map(Number);
	return Math.round((r + g + b) / 3);
}`
	paper := eval[int](v, `(`+brightness+`)("backgroundColor")`)
	ink := eval[int](v, `(`+brightness+`)("color")`)
	if dark := scheme == "dark"; dark != (paper < 60) || dark != (ink > 200) {
		v.t.Errorf("%s has brightness %d on %d for somebody who likes it %s", where, ink, paper, scheme)
	}
}

func (v *visitor) screenshot(name string) {
	v.t.Helper()
	if screenshots == "" {
		return
	}
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		v.t.Fatal(err)
	}
	picture := get(v, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), picture, 0o644); err != nil {
		v.t.Fatal(err)
	}
}
