package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func TestStillSignedInAfterKill(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.signUp("ada")
	v.says("main", "Hello, ada.")
	s.restart()
	v.open("/members")
	v.at("/members")
	v.says("main", "Hello, ada.")

	// A user who signs out and in again is kept in the database as well.
	v.press(".who button")
	v.at("/signin")
	s.restart()
	v.signIn("ada")
	v.says(".flash", "Welcome back, ada.")
}

func TestNoteAndCountSurviveARestart(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.open("/")
	v.says("h1", "first visit")
	v.enter("#note", "buy milk & <b>eggs</b>")
	v.press("main form button")
	v.says(".flash", "kept in your session")
	v.says("#visits", "2")
	s.restart()
	v.open("/")
	v.says("#visits", "3")
	if got := get(v, chromedp.Value(chromedp.CSS("#note"))); got != "buy milk & <b>eggs</b>" {
		t.Errorf("the note is %q", got)
	}
	if n := v.count(".flash"); n != 0 {
		t.Error("the message is shown twice")
	}

	// They come along to the session of the member.
	before := v.cookie().Value
	v.signUp("ada")
	if v.cookie().Value == before {
		t.Error("the cookie is the same after signing in")
	}
	v.open("/")
	v.says("#visits", "4")
}

func TestASecondBrowserIsSignedOutFromTheFirst(t *testing.T) {
	s := startServer(t)
	laptop, phone := visit(t, s), visit(t, s)
	laptop.signUp("ada")
	phone.signIn("ada")

	laptop.open("/sessions")
	if n := laptop.count(".places li"); n != 2 {
		t.Fatalf("%d places are listed, want 2: %s", n, laptop.text("main"))
	}
	if n := laptop.count(".places .this"); n != 1 {
		t.Errorf("%d places are marked as this one", n)
	}
	laptop.says(".places .this", "Chrome")
	phone.open("/sessions")
	if n := phone.count(".places li"); n != 2 {
		t.Errorf("the other browser lists %d places, want 2", n)
	}

	laptop.press(".places li:not(.this) button")
	laptop.at("/sessions")
	laptop.says(".flash", "signed out")
	if n := laptop.count(".places li"); n != 1 {
		t.Errorf("%d places are listed afterwards, want 1", n)
	}
	phone.open("/members")
	phone.at("/signin?next=%2Fmembers")
	laptop.open("/members")
	laptop.at("/members")
}

func TestSignOutEverywhereElse(t *testing.T) {
	s := startServer(t)
	here, there, elsewhere := visit(t, s), visit(t, s), visit(t, s)
	here.signUp("ada")
	there.signIn("ada")
	elsewhere.signIn("ada")
	stranger := visit(t, s)
	stranger.signUp("bob")

	here.open("/sessions")
	here.press("button.danger")
	here.says(".flash", "2 other browsers are signed out")
	for _, v := range []*visitor{there, elsewhere} {
		v.open("/sessions")
		v.at("/signin?next=%2Fsessions")
		v.enter("#name", "ada")
		v.enter("#password", password)
		v.press("main form button")
		v.at("/sessions")
	}
	for _, v := range []*visitor{here, stranger} {
		v.open("/members")
		v.at("/members")
	}
}

func TestTheBackButtonShowsNothingAfterSignOut(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.signUp("ada")
	v.open("/inspect")
	v.open("/members")
	v.says("main", "Only members see this page")
	v.press(".who button")
	v.at("/signin")
	for range 3 {
		v.back()
		body := eval[string](v, "document.body.innerText")
		if strings.Contains(body, "Only members") || strings.Contains(body, "Hello, ada") || strings.Contains(body, `"device"`) {
			t.Fatalf("the back button shows %s:\n%s", get(v, chromedp.Location()), body)
		}
	}
}

func TestTheInspectorShowsTheRealCookie(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.open("/inspect")
	v.says("main", "You have none")
	if c := v.cookie(); c != nil {
		t.Fatalf("looking set a cookie: %s", c.Name)
	}

	v.signUp("ada")
	v.open("/inspect")
	c := v.cookie()
	if got := v.text("#raw"); got != c.Value {
		t.Errorf("the inspector shows the cookie %q, the browser has %q", got, c.Value)
	}
	token, signature := v.text("#token"), v.text("#signature")
	escaped := strings.NewReplacer("+", "%2B", "/", "%2F").Replace(signature)
	if "s%3A"+token+"."+escaped != c.Value {
		t.Errorf("the parts %q and %q do not make the cookie %q", token, signature, c.Value)
	}
	if !c.HTTPOnly || c.Secure || !c.Session || c.SameSite != "Lax" || c.Path != "/" {
		t.Errorf("the cookie has other attributes than the page says: %+v", c)
	}
	v.says("#data", `"browser": "Chrome`)

	// The times count down.
	left := func() string { return eval[string](v, `document.querySelector("[data-until]").textContent`) }
	first := left()
	for range 50 {
		if time.Sleep(100 * time.Millisecond); left() != first {
			return
		}
	}
	t.Errorf("the time does not count down from %s", first)
}

func TestRememberMe(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.open("/signup")
	v.enter("#name", "ada")
	v.enter("#password", password)
	v.do(chromedp.Click(chromedp.CSS("[name=remember]")))
	v.press("main form button")
	v.at("/members")
	c := v.cookie()
	days := time.Until(time.Unix(int64(c.Expires), 0)).Hours() / 24
	if c.Session || days < 29.9 || days > 30.1 {
		t.Errorf("the cookie ends with the browser: %v, and in %v days", c.Session, days)
	}
	v.press(".who button")
	if c := v.cookie(); c != nil && !c.Session {
		t.Error("the cookie outlives the browser after signing out")
	}
}

func TestWithoutScripts(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.withoutScripts()
	v.open("/")
	v.enter("#note", "by hand")
	v.press("main form button")
	v.says(".flash", "kept")
	v.signUp("ada")
	v.press(".who button")
	v.signIn("ada")
	v.open("/sessions")
	v.says("main", "this one")
	v.open("/inspect")
	v.says("main", "in 59 min")
	v.press(".who button")
	v.open("/members")
	v.at("/signin?next=%2Fmembers")
}

func TestFormsSayWhatIsWrong(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.signUp("ada")
	v.press(".who button")
	v.open("/signin")
	v.enter("#name", "ada")
	v.enter("#password", "not the password")
	v.press("main form button")
	v.at("/signin")
	v.says(".flash.error", "wrong")
	if got := get(v, chromedp.Value(chromedp.CSS("#name"))); got != "ada" {
		t.Errorf("the name has to be entered again; the field holds %q", got)
	}
	if got := get(v, chromedp.Value(chromedp.CSS("#password"))); got != "" {
		t.Errorf("the password came back: %q", got)
	}
	v.open("/signup")
	v.enter("#name", "Ada")
	v.enter("#password", password)
	v.press("main form button")
	v.says(".flash.error", "taken")
}

// A form on another site must not act in the name of the visitor.
func TestAFormOfAnotherSite(t *testing.T) {
	s := startServer(t)
	v := visit(t, s)
	v.signUp("ada")
	evil := filepath.Join(t.TempDir(), "evil.html")
	form := `<form method="post" action="` + s.url + `/signout"><button>win a prize</button></form>`
	if err := os.WriteFile(evil, []byte(form), 0o600); err != nil {
		t.Fatal(err)
	}
	v.do(chromedp.Navigate("file://" + evil))
	v.press("button")
	v.says("h1", "another site")
	v.open("/members")
	v.at("/members")
}
