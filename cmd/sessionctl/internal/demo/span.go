package demo

import (
	"fmt"
	"time"
)

// span writes a duration in its two largest units, as pages/countdown.js does.
func span(d time.Duration) string {
	seconds := max(int64(d/time.Second), 0)
	s, m, h, days := seconds%60, seconds/60%60, seconds/3600%24, seconds/86400
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, h)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	}
	return fmt.Sprintf("%d s", s)
}

// ago says how long ago a time was. Differences that nobody can have noticed are
// no difference.
func ago(now, t time.Time) string {
	if now.Sub(t) < 2*time.Second {
		return "just now"
	}
	return span(now.Sub(t)) + " ago"
}
