package demo

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0 s"},
		{0, "0 s"},
		{59*time.Second + 999*time.Millisecond, "59 s"},
		{time.Minute, "1 min 0 s"},
		{time.Hour - time.Second, "59 min 59 s"},
		{time.Hour, "1 h 0 min"},
		{24*time.Hour - time.Second, "23 h 59 min"},
		{30 * 24 * time.Hour, "30 d 0 h"},
	} {
		if got := span(c.d); got != c.want {
			t.Errorf("span(%v) = %q, want %q", c.d, got, c.want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		t    time.Time
		want string
	}{
		{now.Add(time.Second), "just now"},
		{now.Add(-1999 * time.Millisecond), "just now"},
		{now.Add(-2 * time.Second), "2 s ago"},
		{now.Add(-time.Hour), "1 h 0 min ago"},
	} {
		if got := ago(now, c.t); got != c.want {
			t.Errorf("ago(%v) = %q, want %q", now.Sub(c.t), got, c.want)
		}
	}
}
