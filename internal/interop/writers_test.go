package interop

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	writers   = 2 // on each side
	additions = 20
)

// writersOnBothSides lets both sides add to counters of their own, all at
// once. Express writes the whole session over whatever is there, so what it has
// not seen is lost, whoever wrote it. Ours must lose nothing: each of our writes is
// exactly one addition to what stood there at that moment, and each that we have
// reported was made.
func writersOnBothSides(t *testing.T, p *pair) {
	b := newBrowser(t)
	id := b.login(p.express, "tj").ID
	stop := p.rows.follow(t, id)
	start, _, _ := p.rows.read(t, id)
	b.writeAtOnce(p, p.ours+"/add?key=ours", p.express+"/add?key=theirs")
	end, _, ok := p.rows.read(t, id)
	if !ok || !json.Valid([]byte(end)) {
		t.Fatalf("there remains %q", end)
	}
	if stop == nil {
		// Nobody notes what happens to a file. It is whole, and nobody is signed out.
		if got := count(end); got.Passport.User != "tj" || got.Ours > writers*additions || got.Theirs > writers*additions {
			t.Errorf("there remains %s", end)
		}
		return
	}
	ours, overwritten, last := 0, 0, start
	for _, c := range stop() {
		if c.before == c.after {
			continue // a touch
		}
		if c.before != last {
			t.Fatalf("after\n%s there was\n%s", last, c.before)
		}
		last = c.after
		was, is := count(c.before), count(c.after)
		if c.express {
			overwritten += was.Ours - is.Ours
			continue
		}
		ours++
		if is.Ours != was.Ours+1 || is.Theirs != was.Theirs {
			t.Errorf("we made\n%s of\n%s", c.after, c.before)
		}
	}
	if ours != writers*additions {
		t.Errorf("we wrote %d times, want %d", ours, writers*additions)
	}
	if got := count(end); last != end || got.Ours != ours-overwritten {
		t.Errorf("there remains %s, want %d of ours", end, ours-overwritten)
	}
	t.Logf("Express overwrote %d of %d of our additions", overwritten, ours)
}

// oursLosesNothingToReaders has Express only read meanwhile: it then touches
// the session, which in all layouts but that of files leaves the text alone.
func oursLosesNothingToReaders(t *testing.T, p *pair) {
	b := newBrowser(t)
	id := b.login(p.express, "tj").ID
	readers := p.express + "/view"
	if p.rows.follow(t, id) == nil {
		readers = p.numeric + "/view" // Express's touch would write the file
	}
	b.writeAtOnce(p, p.ours+"/add?key=ours", p.numeric+"/add?key=theirs", readers)
	text, _, _ := p.rows.read(t, id)
	if got := count(text); got.Ours != writers*additions || got.Theirs != writers*additions {
		t.Errorf("of %d additions each there remains %s", writers*additions, text)
	}
}

// writeAtOnce asks each of the URLs by several clients many times.
func (b *browser) writeAtOnce(p *pair, urls ...string) {
	b.t.Helper()
	var wg sync.WaitGroup
	var failed atomic.Pointer[string]
	for _, url := range urls {
		for range writers {
			client := b.with(b.cookie())
			wg.Go(func() {
				for range additions {
					method := "POST"
					if url[len(url)-1] == 'w' { // /view
						method = "GET"
					}
					if _, failure := client.try(method, url, ""); failure != "" {
						failed.CompareAndSwap(nil, &failure)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if failure := failed.Load(); failure != nil {
		b.t.Fatal(*failure)
	}
}

// counters are what the writers count, and who is signed in.
type counters struct {
	Ours, Theirs int
	Passport     struct{ User string }
}

func count(text string) (c counters) {
	_ = json.Unmarshal([]byte(text), &c)
	return c
}
