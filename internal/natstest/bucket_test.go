package natstest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

func TestBucketThatIsMissing(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := newStore(t, js, natsstore.Options{})
	rec := record("id", "alice")
	check := func() {
		t.Helper()
		for op, err := range map[string]error{
			"load":   second(store.Load(limited(t), "id")),
			"save":   second(store.Save(limited(t), &rec)),
			"touch":  store.Touch(limited(t), "id", now(), now()),
			"delete": store.Delete(limited(t), "id"),
			"ping":   store.Ping(limited(t)),
			"watch":  store.Watch(limited(t), time.Second, func(string) {}, func(time.Time) {}),
		} {
			want := "natsstore: " + op + `: the bucket "sessions" does not exist; Store.Migrate makes it`
			if err == nil || err.Error() != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
	check()
	if err := store.Migrate(limited(t)); err != nil {
		t.Fatal(err)
	}
	save(t, store, &rec)
	if err := js.DeleteKeyValue(limited(t), "sessions"); err != nil {
		t.Fatal(err)
	}
	check()
}

// A version is not used again, even where the bucket is not the same any more.
func TestBucketMadeAnew(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	old := map[uint64]bool{}
	rec := record("id", "")
	for range 20 {
		save(t, store, &rec)
		old[rec.Version] = true
	}
	if err := js.DeleteKeyValue(limited(t), "sessions"); err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(limited(t)); err != nil {
		t.Fatal(err)
	}
	anew := record("id", "")
	for range 40 {
		save(t, store, &anew)
		if old[anew.Version] {
			t.Fatalf("version %d was used before", anew.Version)
		}
	}
	if _, err := store.Save(limited(t), &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save of a version of before: %v", err)
	}
}

func TestMigrate(t *testing.T) {
	n := startNode(t, limits{})
	js := connect(t, n)
	good := func(bucket string) jetstream.StreamConfig {
		config, err := natsstore.Schema(&natsstore.Options{Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	for _, test := range []struct {
		name   string
		change func(c *jetstream.StreamConfig)
		says   string // by the first operation; nothing if the bucket will do
		never  string // by Migrate, if it does not mend it
	}{
		{"as it should be", func(c *jetstream.StreamConfig) {}, "", ""},
		{"with other settings besides", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20; c.Compression = jetstream.S2Compression }, "", ""},
		{"without time to live", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }, "allow_msg_ttl", ""},
		{"with a history", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "history", ""},
		{"with an end for everything", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "ends every session", ""},
		{"that drops the oldest", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld; c.MaxBytes = 1 << 20 }, "drops the oldest", ""},
		{"that does not answer", func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack", ""},
		{"of other subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"$KV." + c.Name[3:] + ".a.>"} }, "subjects", "choose another"},
		{"that forgets what was read", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention", "choose another"},
		{"that changes keys", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: c.Subjects[0], Destination: "$KV." + c.Name[3:] + ".x.>"}
		}, "subject_transform", "choose another"},
		{"that is a copy", func(c *jetstream.StreamConfig) {
			c.Subjects, c.FirstSeq, c.Mirror = nil, 0, &jetstream.StreamSource{Name: "KV_as-it-should-be"}
		}, "copy", "choose another"},
		{"in memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "", "has Memory storage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bucket := strings.ReplaceAll(test.name, " ", "-")
			c := good(bucket)
			test.change(&c)
			if _, err := js.CreateStream(limited(t), c); err != nil {
				t.Fatal(err)
			}
			store := newStore(t, js, natsstore.Options{Bucket: bucket})
			_, err := store.Load(limited(t), "id")
			switch {
			case test.says == "" && errors.Is(err, session.ErrNotFound):
			case test.says == "" || !strings.Contains(err.Error(), test.says) || errors.Is(err, session.ErrNotFound):
				t.Errorf("Load: %v, want %q", err, test.says)
			case test.never == "" && !strings.Contains(err.Error(), "Store.Migrate mends it"):
				t.Errorf("Load does not say how to mend it: %v", err)
			}
			for range 2 {
				err = store.Migrate(limited(t))
				if test.never != "" {
					if err == nil || !strings.Contains(err.Error(), test.never) {
						t.Errorf("Migrate: %v, want %q", err, test.never)
					}
					continue
				}
				if err != nil {
					t.Fatalf("Migrate: %v", err)
				}
				if err := store.Ping(limited(t)); err != nil {
					t.Errorf("Ping after Migrate: %v", err)
				}
			}
			if test.never != "" {
				return
			}
			rec := record("id", "alice")
			save(t, store, &rec)
			// What it need not change it does not.
			stream, err := js.Stream(limited(t), "KV_"+bucket)
			if err != nil {
				t.Fatal(err)
			}
			if is := stream.CachedInfo().Config; is.MaxBytes != c.MaxBytes || is.Compression != c.Compression {
				t.Errorf("Migrate changed other settings: %+v", is)
			}
		})
	}

	t.Run("a bucket of the NATS tools", func(t *testing.T) {
		_, err := js.CreateKeyValue(limited(t), jetstream.KeyValueConfig{Bucket: "tools", History: 3})
		if err != nil {
			t.Fatal(err)
		}
		store := open(t, js, natsstore.Options{Bucket: "tools"})
		rec := record("id", "alice")
		save(t, store, &rec)
		// And ours is one to the tools.
		kv, err := js.KeyValue(limited(t), "tools")
		if err != nil {
			t.Fatal(err)
		}
		keys, err := kv.Keys(limited(t))
		if err != nil || len(keys) != 2 {
			t.Errorf("the keys are %q, %v", keys, err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var starting sync.WaitGroup
		for range 10 {
			store := newStore(t, connect(t, n), natsstore.Options{Bucket: "many"})
			starting.Go(func() {
				if err := store.Migrate(limited(t)); err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
	})
}

func TestMigrateInACluster(t *testing.T) {
	nodes := startCluster(t)
	js := connect(t, nodes...)
	replicas := func() int {
		stream, err := js.Stream(limited(t), "KV_sessions")
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().Config.Replicas
	}
	for _, step := range []struct{ option, want int }{{0, 1}, {3, 3}, {0, 3}, {1, 1}} {
		open(t, js, natsstore.Options{Replicas: step.option})
		if got := replicas(); got != step.want {
			t.Errorf("after Migrate with %d replicas there are %d, want %d", step.option, got, step.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	if _, err := natsstore.New(nil, nil); err == nil {
		t.Error("a nil JetStream was taken")
	}
	for _, opts := range []natsstore.Options{{Bucket: "a.b"}, {Bucket: "a b"}, {Bucket: ">"}, {Replicas: -1}, {Replicas: 6}, {Storage: 7}} {
		if _, err := natsstore.New(js, &opts); err == nil {
			t.Errorf("the options %+v were taken", opts)
		}
		if _, err := natsstore.Schema(&opts); err == nil {
			t.Errorf("Schema took the options %+v", opts)
		}
	}
}

// A JetStream of another domain, or behind a prefix, has other subjects.
func TestDomain(t *testing.T) {
	n := startNode(t, limits{Domain: "hub"})
	direct := open(t, connect(t, n), natsstore.Options{})
	conn := dial(t, []*node{n})
	domain, err := jetstream.NewWithDomain(conn, "hub")
	if err != nil {
		t.Fatal(err)
	}
	prefix, err := jetstream.NewWithAPIPrefix(conn, "$JS.hub.API")
	if err != nil {
		t.Fatal(err)
	}
	for name, js := range map[string]jetstream.JetStream{"domain": domain, "prefix": prefix} {
		t.Run(name, func(t *testing.T) {
			store := open(t, js, natsstore.Options{})
			rec := record(name, "alice")
			save(t, store, &rec)
			touch(t, store, name, now().Add(2*time.Hour))
			if got := load(t, direct, name); got.Version != rec.Version {
				t.Errorf("version %d, want %d", got.Version, rec.Version)
			}
			wantList(t, store, "alice", name)
			changes, _ := startWatch(t, store, 100*time.Millisecond)
			save(t, direct, &rec)
			changes.wait(t, name)
			if err := store.Delete(limited(t), name); err != nil {
				t.Error(err)
			}
			if _, err := direct.Load(limited(t), name); !errors.Is(err, session.ErrNotFound) {
				t.Error(err)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	for name, set := range map[string]struct {
		server int32
		change func(c *jetstream.StreamConfig)
	}{
		"by the server": {server: 8 << 10, change: func(*jetstream.StreamConfig) {}},
		"by the bucket": {change: func(c *jetstream.StreamConfig) { c.MaxMsgSize = 8 << 10 }},
	} {
		t.Run(name, func(t *testing.T) {
			js := connect(t, startNode(t, limits{MaxPayload: set.server}))
			c, err := natsstore.Schema(nil)
			if err != nil {
				t.Fatal(err)
			}
			set.change(&c)
			if _, err := js.CreateStream(limited(t), c); err != nil {
				t.Fatal(err)
			}
			store := newStore(t, js, natsstore.Options{})
			rec := record("id", "alice")
			rec.Data = []byte(`"` + strings.Repeat("x", 7<<10) + `"`)
			save(t, store, &rec)
			large := rec
			large.Data = []byte(`"` + strings.Repeat("x", 9<<10) + `"`)
			if _, err := store.Save(limited(t), &large); !errors.Is(err, session.ErrTooLarge) {
				t.Errorf("Save: %v", err)
			}
			if got := load(t, store, "id"); got.Version != rec.Version {
				t.Errorf("version %d, want %d", got.Version, rec.Version)
			}
		})
	}
}

// A bucket that is full is the operator's affair, not that of a record.
func TestFullBucket(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	c, err := natsstore.Schema(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.MaxBytes = 20 << 10
	if _, err := js.CreateStream(limited(t), c); err != nil {
		t.Fatal(err)
	}
	store := newStore(t, js, natsstore.Options{})
	rec := record("id", "")
	save(t, store, &rec)
	full := record("full", "")
	full.Data = []byte(`"` + strings.Repeat("x", 30<<10) + `"`)
	_, err = store.Save(limited(t), &full)
	if err == nil || errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("Save: %v", err)
	}
	load(t, store, "id")
}

// A server that is down at start is used when it is up.
func TestServerDownAtStart(t *testing.T) {
	n := startNode(t, limits{})
	open(t, connect(t, n), natsstore.Options{})
	n.Kill()
	store := newStore(t, connect(t, n), natsstore.Options{})
	rec := record("id", "alice")
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := store.Load(ctx, "id")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "the connection to the servers is down") {
			t.Fatalf("Load: %v", err)
		}
	}
	saved := make(chan error)
	go func() { saved <- second(store.Save(limited(t), &rec)) }()
	n.Start()
	if err := <-saved; err != nil {
		t.Error(err)
	}
	load(t, store, "id")
}

// A connection that is closed does not come back: there is nothing to wait for.
func TestClosedConnection(t *testing.T) {
	n := startNode(t, limits{})
	js := connect(t, n)
	store := open(t, js, natsstore.Options{})
	rec := record("id", "alice")
	save(t, store, &rec)
	js.Conn().Close()
	for op, err := range map[string]error{
		"load":   second(store.Load(context.Background(), "id")),
		"save":   second(store.Save(context.Background(), &rec)),
		"touch":  store.Touch(context.Background(), "id", now(), now().Add(2*time.Hour)),
		"delete": store.Delete(context.Background(), "id"),
		"ping":   store.Ping(context.Background()),
		"watch":  store.Watch(context.Background(), time.Second, func(string) {}, func(time.Time) {}),
	} {
		if !errors.Is(err, nats.ErrConnectionClosed) || !strings.HasPrefix(err.Error(), "natsstore: "+op+": ") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// A server that is there and answers nothing.
func TestServerThatIsPaused(t *testing.T) {
	n := startNode(t, limits{})
	store := open(t, connect(t, n), natsstore.Options{})
	rec := record("id", "alice")
	save(t, store, &rec)
	n.Pause()
	for op, f := range map[string]func(ctx context.Context) error{
		"load":   func(ctx context.Context) error { return second(store.Load(ctx, "id")) },
		"save":   func(ctx context.Context) error { return second(store.Save(ctx, &rec)) },
		"touch":  func(ctx context.Context) error { return store.Touch(ctx, "id", now(), now().Add(2*time.Hour)) },
		"delete": func(ctx context.Context) error { return store.Delete(ctx, "other") },
		"list":   func(ctx context.Context) error { _, _, err := store.List(ctx, session.Query{Limit: 1}); return err },
		"ping":   store.Ping,
	} {
		const limit, grace = 50 * time.Millisecond, 2 * time.Second
		for _, kind := range []error{context.DeadlineExceeded, context.Canceled} {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			if kind == context.Canceled {
				ctx, cancel = context.WithCancel(context.Background())
				time.AfterFunc(limit, cancel)
			}
			began := time.Now()
			err := f(ctx)
			cancel()
			if took := time.Since(began); took > limit+grace {
				t.Errorf("%s took %v", op, took)
			}
			if !errors.Is(err, kind) || strings.Contains(err.Error(), "alice") {
				t.Errorf("%s: %v, want one that wraps %v", op, err, kind)
			}
		}
	}
	n.Resume()
	load(t, store, "id")
}
