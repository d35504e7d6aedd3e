package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// stepTimeout is how long one step in the browser may take on a busy machine.
const stepTimeout = 30 * time.Second

// workDir holds what the tests build, and what Chromium writes.
var workDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	workDir, err = os.MkdirTemp("", "session-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	defer stopChromium()
	return m.Run()
}

var stopChromium = func() {}

// chromium starts one Chromium for all tests, which get contexts in it that
// share nothing, as two browsers share nothing.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(workDir + "/chromium"),
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	})
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has no sandbox for root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		stop()
		return nil, fmt.Errorf("%s does not start: %w", path, err)
	}
	stopChromium = func() {
		_ = chromedp.Cancel(ctx)
		stop()
	}
	return ctx, nil
})

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests need the browser Chromium: install Debian's package chromium (apt-get install -y --no-install-recommends chromium)")
}

// A visitor is somebody with a browser of his own, looking at one page.
type visitor struct {
	t   *testing.T
	ctx context.Context
	url string

	mu         sync.Mutex
	complaints []string
}

// visit opens a browser that has never been at the server. When the test ends,
// the browser must have had nothing to complain about: a script that fails, or
// something that the page's policy forbids.
func visit(t *testing.T, s *server) *visitor {
	t.Helper()
	return visitURL(t, s.url)
}

func visitURL(t *testing.T, url string) *visitor {
	t.Helper()
	parent, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	v := &visitor{t: t, ctx: ctx, url: url}
	// The first call opens the page, for as long as its own context lives.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	v.do(chromedp.EmulateViewport(1200, 900))
	entries := chromedp.Events(ctx, log.EntryAdded)
	go func() {
		for e, err := range entries {
			if err != nil {
				return
			}
			// Chromium also reports every response with an error status.
			if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
				v.mu.Lock()
				v.complaints = append(v.complaints, e.Entry.Text)
				v.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, c := range v.complaints {
			t.Errorf("the browser complains: %s", c)
		}
	})
	return v
}

// do runs steps that must succeed.
func (v *visitor) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, stepTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

// open goes to a page by its address.
func (v *visitor) open(path string) {
	v.t.Helper()
	v.do(chromedp.Navigate(v.url + path))
}

// press clicks on what leads to another page, and waits for that.
func (v *visitor) press(selector string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, stepTimeout)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		v.t.Fatalf("click on %s: %v", selector, err)
	}
}

// enter types a text into a field, in place of what is there.
func (v *visitor) enter(selector, text string) {
	v.t.Helper()
	v.do(
		chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%q).select()", selector)),
		chromedp.SendKeys(chromedp.CSS(selector), text),
	)
}

// back presses the browser's back button, and waits until another page is there.
// chromedp's own action for it waits for the page to load, which it does not do
// where the browser has kept it.
func (v *visitor) back() {
	v.t.Helper()
	before := get(v, chromedp.Location())
	// In a moment, as the answer to what leads away at once may get lost with the page.
	v.do(chromedp.Evaluate[chromedp.Void]("void setTimeout(() => history.back())"))
	for deadline := time.Now().Add(stepTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		// While one page takes the place of another there is none to ask.
		where, err := chromedp.Run(v.ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? location.href : ""`))
		if err == nil && where != "" && where != before {
			return
		}
	}
	v.t.Fatalf("the back button does not lead away from %s", before)
}

func get[T any](v *visitor, action chromedp.Action[T]) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, stepTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		v.t.Fatal(err)
	}
	return value
}

// text returns what the element shows, which must be there.
func (v *visitor) text(selector string) string {
	v.t.Helper()
	return strings.TrimSpace(get(v, chromedp.TextContent(chromedp.CSS(selector))))
}

// count returns how many elements there are.
func (v *visitor) count(selector string) int {
	v.t.Helper()
	return eval[int](v, fmt.Sprintf("document.querySelectorAll(%q).length", selector))
}

func eval[T any](v *visitor, expression string) T {
	v.t.Helper()
	return get(v, chromedp.Evaluate[T](expression))
}

// at checks which page is shown.
func (v *visitor) at(path string) {
	v.t.Helper()
	if got := strings.TrimPrefix(get(v, chromedp.Location()), v.url); got != path {
		v.t.Fatalf("the page is %s, want %s; it says:\n%s", got, path, v.text("body"))
	}
}

// says checks that the page shows a text.
func (v *visitor) says(selector, want string) {
	v.t.Helper()
	if got := v.text(selector); !strings.Contains(got, want) {
		v.t.Fatalf("%s says %q, want %q in it", selector, got, want)
	}
}

// cookie returns the session's cookie as the browser keeps it, or nil.
func (v *visitor) cookie() *network.Cookie {
	v.t.Helper()
	for _, c := range v.cookies() {
		if c.Name == "session" {
			return c
		}
	}
	return nil
}

// cookies returns what the browser keeps for the server.
func (v *visitor) cookies() []*network.Cookie {
	v.t.Helper()
	result, err := chromedp.Call(v.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{v.url}})
	if err != nil {
		v.t.Fatal(err)
	}
	return result.Cookies
}

func (v *visitor) withoutScripts() {
	v.t.Helper()
	if _, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		v.t.Fatal(err)
	}
}

// prefer sets what the visitor likes: "light" or "dark".
func (v *visitor) prefer(scheme string) {
	v.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, params); err != nil {
		v.t.Fatal(err)
	}
}

const password = "correct horse battery"

// signUp makes a user, who is signed in then.
func (v *visitor) signUp(name string) {
	v.t.Helper()
	v.open("/signup")
	v.enter("#name", name)
	v.enter("#password", password)
	v.press("main form button")
	v.at("/members")
}

func (v *visitor) signIn(name string) {
	v.t.Helper()
	v.open("/signin")
	v.enter("#name", name)
	v.enter("#password", password)
	v.press("main form button")
	v.at("/members")
}
