package natsstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errBehind = errors.New("the channel does not bring what has changed")
	errGap    = errors.New("the channel has lost a message")
	errAnew   = errors.New("the bucket was deleted and made anew")
)

const (
	// leastGrace is how long a channel may be behind, at least, before it is given
	// up. It allows for the election of a leader nearby, not for a whole one: a new
	// channel has as good a chance.
	leastGrace = 2 * time.Second

	// mostGrace is less than the life of a marker: a channel that has been behind
	// for longer may have missed one.
	mostGrace = markerLife / 3

	// watchBuffer is how many changes may wait to be reported.
	watchBuffer = 1 << 13

	// consumerLife is how long a server keeps a channel that nobody listens to.
	consumerLife = 10 * time.Second
)

// Watch implements [session.Watcher]. It reports this store's own changes too,
// and neither what has expired nor what somebody removes past the store (a purge
// of the stream).
//
// The changes come by themselves; to prove that they do, it asks the leader twice
// in every given time. A consumer on a server that lags behind or is gone, a
// connection that was lost: whatever keeps changes from coming, the proof fails,
// and Watch ends some seconds later with an error.
func (s *Store) Watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error {
	err := s.begin(ctx)
	if err == nil {
		err = s.watch(ctx, every, changed, current)
	}
	return fail(ctx, "watch", err)
}

func (s *Store) watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()

	began, err := s.link.info(ctx)
	if err != nil {
		return err
	}
	messages := make(chan *nats.Msg, watchBuffer)
	sub, err := s.link.conn.ChanSubscribe(s.link.conn.NewInbox(), messages)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	p := proof{came: began.State.LastSeq, progress: time.Now()}
	if err := s.link.deliver(ctx, p.came+1, sub.Subject); err != nil {
		return err
	}

	type answer struct {
		info *streamInfo
		err  error
	}
	answers := make(chan answer, 1)
	ask := func() {
		if p.ask(time.Now()) {
			asking.Go(func() {
				info, err := s.link.info(ctx)
				answers <- answer{info, err}
			})
		}
	}
	ask()
	grace := min(max(4*every, leastGrace), mostGrace)
	ticker := time.NewTicker(min(max(every/2, time.Millisecond), mostGrace/4))
	defer ticker.Stop()
	delivered := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-messages:
			meta, err := m.Metadata()
			if err != nil {
				return errGap
			}
			if delivered++; meta.Sequence.Consumer != delivered {
				return errGap
			}
			if id, ok := recordID(m.Subject[len(s.link.subject):]); ok {
				changed(id)
			}
			if p.reported(meta.Sequence.Stream) {
				ask()
			}
		case a := <-answers:
			switch {
			case a.err != nil:
				return a.err
			case !a.info.Created.Equal(began.Created):
				return errAnew
			}
			proved, again := p.answered(a.info.State.LastSeq)
			if proved {
				current(p.asked)
			}
			if again {
				ask()
			}
		case <-ticker.C:
			if time.Since(p.progress) > grace {
				return errBehind
			}
			ask()
		}
	}
}

// A proof is what it takes to know that nothing has escaped: the leader is asked
// what the last message is. If all up to that had been reported when it was asked,
// then nothing had escaped at that time: what a key held then was written before,
// and every write that still stood came on the way to the last one.
//
// It does not do to get to the last one later. A key that was written twice is
// delivered once, in its later place, which may lie after it.
type proof struct {
	came     uint64    // the last message that was reported
	asked    time.Time // when the leader was asked last
	then     uint64    // what had come at that time
	open     bool      // there is no answer yet
	missing  uint64    // what must come before it is worth to ask again, or 0
	progress time.Time // when all was written that has come, at least
}

// ask reports whether to ask now.
func (p *proof) ask(now time.Time) bool {
	if p.open || p.missing != 0 {
		return false
	}
	p.open, p.asked, p.then = true, now, p.came
	return true
}

// answered takes the answer, and reports whether nothing had escaped when it was
// asked, or else whether to ask again.
func (p *proof) answered(last uint64) (proved, again bool) {
	p.open = false
	switch {
	case last <= p.then:
		p.progress = p.asked
		return true, false
	case last <= p.came:
		p.progress = p.asked
		return false, true
	}
	p.missing = last
	return false, false
}

// reported notes that a message has come and was reported, and reports whether to
// ask again.
func (p *proof) reported(message uint64) (again bool) {
	p.came = max(p.came, message)
	if p.missing == 0 || p.came < p.missing {
		return false
	}
	p.missing, p.progress = 0, p.asked
	return true
}

// deliver lets a server send what is written, without the values, to a subject,
// until nobody listens there.
func (l *link) deliver(ctx context.Context, from uint64, subject string) error {
	limited, cancel := context.WithTimeout(ctx, mostPatience)
	defer cancel()
	_, err := l.js.CreatePushConsumer(limited, l.stream, jetstream.ConsumerConfig{
		FilterSubject:     l.subject + ">",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverSubject:    subject,
		HeadersOnly:       true,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerLife,
	})
	return err
}
