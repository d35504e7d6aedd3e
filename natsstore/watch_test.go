package natsstore

import (
	"testing"
	"time"
)

func TestProof(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	mustAsk := func(p *proof, second int64, want bool) {
		t.Helper()
		if got := p.ask(at(second)); got != want {
			t.Errorf("at %d: ask is %v, want %v", second, got, want)
		}
	}
	answer := func(p *proof, last uint64, proved, again bool) {
		t.Helper()
		if p1, p2 := p.answered(last); p1 != proved || p2 != again {
			t.Errorf("%d is the last: proved %v, again %v; want %v, %v", last, p1, p2, proved, again)
		}
	}
	comes := func(p *proof, message uint64, again bool) {
		t.Helper()
		if got := p.reported(message); got != again {
			t.Errorf("%d comes: again %v, want %v", message, got, again)
		}
	}

	t.Run("nothing was written", func(t *testing.T) {
		p := proof{came: 4}
		mustAsk(&p, 1, true)
		mustAsk(&p, 2, false) // one question at a time
		answer(&p, 4, true, false)
		if p.asked != at(1) || p.progress != at(1) {
			t.Errorf("proved for %v, want the time of the question", p.asked)
		}
	})
	t.Run("all that was written has come before the question", func(t *testing.T) {
		p := proof{came: 4}
		comes(&p, 5, false)
		mustAsk(&p, 1, true)
		comes(&p, 6, false)
		answer(&p, 5, true, false)
	})
	// A was written as 5, B as 7, then A again as 9. 5 never comes: 7 comes before A
	// is reported.
	t.Run("what was written twice lies later", func(t *testing.T) {
		p := proof{came: 4}
		mustAsk(&p, 1, true)
		answer(&p, 7, false, false)
		mustAsk(&p, 2, false) // it is not worth it
		comes(&p, 7, true)
		if p.progress != at(1) {
			t.Errorf("progress %v", p.progress)
		}
		mustAsk(&p, 3, true)
		answer(&p, 9, false, false)
		comes(&p, 9, true)
		mustAsk(&p, 4, true)
		answer(&p, 9, true, false)
	})
	t.Run("the same, and 7 comes before the answer", func(t *testing.T) {
		p := proof{came: 4}
		mustAsk(&p, 1, true)
		comes(&p, 7, false)
		answer(&p, 7, false, true)
		mustAsk(&p, 2, true)
		answer(&p, 9, false, false)
		comes(&p, 9, true)
	})
	t.Run("messages that were there before", func(t *testing.T) {
		p := proof{came: 4}
		comes(&p, 2, false)
		mustAsk(&p, 1, true)
		answer(&p, 4, true, false)
	})
}
