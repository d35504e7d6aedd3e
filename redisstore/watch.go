package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// Watch implements [session.Watcher], by server-assisted tracking of all keys of
// records (CLIENT TRACKING in broadcasting mode). So it reports what anybody
// changes, connect-redis for one, the store's own changes too, and the expiry of
// records. FLUSHALL is a change of any record.
//
// It takes one connection to each master from the client, of those that the
// client keeps for blocking commands (ClientOption.BlockingPoolSize), for as long
// as it runs. The user of the server must be allowed CLIENT TRACKING, and the
// client must speak RESP3, as it does by default.
//
// It returns an error when one of these connections is lost, when one of the
// servers is no master any more, and when the store may have got records from a
// server to which it does not listen: after a failover, or when a cluster has moved
// slots to a new node. Called again, it listens to those that are masters then, as
// soon as the client knows them (ClusterOption.ShardsRefreshInterval). It asks each
// server twice in the given time, and at least once a second.
//
// When ctx is done while a server answers nothing, it may take a second to
// return, and a connection that was being opened is closed after that.
//
// A master that was cut off from the others, and replaced, knows nothing of that.
// In a cluster the others tell. Behind Sentinel, the store reads what is outdated
// until the client has found the new master, and Watch does not know better;
// min-replicas-to-write on the server narrows that.
//
// With [Options.ClientCache] it returns an error that wraps
// [errors.ErrUnsupported]: what is read then may be older than what was reported.
func (s *Store) Watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error {
	if s.opts.ClientCache > 0 {
		return fmt.Errorf("redisstore: watch: with Options.ClientCache a Load may return what was reported to be changed; leave it zero behind another cache: %w", errors.ErrUnsupported)
	}
	if every <= 0 {
		return fmt.Errorf("redisstore: watch: the time is %v, and must be positive", every)
	}
	err := ctx.Err()
	if err == nil {
		err = s.watch(ctx, every, &reporter{changed: changed, current: current})
	}
	return fail(ctx, "watch", err)
}

func (s *Store) watch(ctx context.Context, every time.Duration, r *reporter) error {
	defer r.stop()
	l, err := s.client(ctx)
	if err != nil {
		return err
	}
	// Told that keys have changed, or, with none, that any may have.
	again := make(chan struct{}, 1)
	heard := func(keys []rueidis.RedisMessage) {
		if len(keys) > 0 {
			s.report(r, keys)
			return
		}
		r.change("")
		// It was FLUSHALL, or the connection is lost: asking will tell.
		select {
		case again <- struct{}{}:
		default:
		}
	}
	w, err := listen(ctx, l, s.layout.prefix(), heard)
	if err != nil {
		return err
	}
	defer w.close()

	// Twice in the given time, so that there is some to spare for the answers; and
	// once a second, so that a change of the topology is not found much later.
	ticker := time.NewTicker(max(min(every/2, time.Second), 1))
	defer ticker.Stop()
	for {
		// What is claimed to be current as of a time begins after it.
		asOf := time.Now()
		if err := w.confirm(ctx); err != nil {
			return err
		}
		if _, err := s.client(ctx); err != nil {
			return err // the store was closed
		}
		r.confirm(asOf)
		select {
		case <-ticker.C:
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) report(r *reporter, keys []rueidis.RedisMessage) {
	for i := range keys {
		key, err := keys[i].ToString()
		if err != nil {
			r.change("")
			continue
		}
		if rest, ok := strings.CutPrefix(key, s.layout.prefix()); ok && rest != "" {
			r.change(s.layout.id(key))
		}
	}
}

// A reporter makes the calls of a Watch, one after another, until it is stopped.
type reporter struct {
	changed func(id string)
	current func(asOf time.Time)

	mu      sync.Mutex
	stopped bool
}

func (r *reporter) change(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.changed(id)
	}
}

func (r *reporter) confirm(asOf time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.current(asOf)
	}
}

func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// Listeners are what hears all changes at the moment: one connection to every
// master.
type listeners struct {
	link  *rueidisLink
	nodes []string // that the client knew at the beginning, if it has no cluster
	each  []*listener
}

// listen begins to listen to all masters. heard is called in order for each of
// them, and for several at the same time.
func listen(ctx context.Context, l *rueidisLink, prefix string, heard func(keys []rueidis.RedisMessage)) (*listeners, error) {
	nodes := l.client.Nodes()
	w := &listeners{link: l, nodes: addresses(nodes)}
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() {
			one, err := newListener(ctx, node, !l.one, prefix, heard)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failed = err
			case one != nil:
				w.each = append(w.each, one)
			}
		})
	}
	wg.Wait()
	// A node that cannot be reached may be one that is not needed: a replica, or
	// one that has left the cluster.
	if len(w.each) > 0 {
		err := w.confirm(ctx)
		if err == nil {
			return w, nil
		}
		if !errors.Is(err, errTopology) || failed == nil {
			failed = err
		}
	}
	w.close()
	if failed == nil {
		failed = errNoMaster
	}
	return nil, failed
}

// confirm returns an error unless all that was changed before the call was
// heard, and no server that is not listened to can have told the store anything
// since the last time.
func (w *listeners) confirm(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	views := make([]view, len(w.each))
	var wg sync.WaitGroup
	for i, one := range w.each {
		wg.Go(func() {
			var err error
			if views[i], err = one.confirm(ctx); err != nil {
				cancel(err) // there is no use in the others
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if w.link.one && !slices.Equal(addresses(w.link.client.Nodes()), w.nodes) {
		return errTopology
	}
	heard := make(map[string]bool, len(views))
	for _, v := range views {
		heard[v.id] = v.master
	}
	for _, v := range views {
		if !v.master || slices.ContainsFunc(v.holders, func(id string) bool { return !heard[id] }) {
			return errTopology
		}
	}
	return nil
}

func (w *listeners) close() {
	var wg sync.WaitGroup
	for _, one := range w.each {
		wg.Go(one.close)
	}
	wg.Wait()
}

func addresses(nodes map[string]rueidis.Client) []string {
	list := make([]string, 0, len(nodes))
	for address := range nodes {
		list = append(list, address)
	}
	slices.Sort(list)
	return list
}
