package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A bucketError says what is wrong with the bucket and how to mend it.
type bucketError struct{ bucket, problem, remedy string }

func (e *bucketError) Error() string {
	return fmt.Sprintf("the bucket %q %s; %s", e.bucket, e.problem, e.remedy)
}

// Schema returns the stream that a bucket is, for those who make streams with
// tools of their own, or who want to set more: Placement, MaxBytes, Compression.
// [Store.Migrate] makes the same.
//
// Its sequence begins with the time. So a version is not used again even if the
// bucket is deleted and made anew.
func Schema(opts *Options) (jetstream.StreamConfig, error) {
	o, err := opts.check()
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return schema(&o), nil
}

func schema(o *Options) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:         "KV_" + o.Bucket,
		Description:  "Sessions. See github.com/coatcheck/session/natsstore.",
		Subjects:     []string{"$KV." + o.Bucket + ".>"},
		Retention:    jetstream.LimitsPolicy,
		MaxConsumers: -1,
		MaxMsgs:      -1,
		MaxBytes:     -1,
		MaxMsgSize:   -1,
		Storage:      o.Storage,
		Replicas:     max(o.Replicas, 1),
		FirstSeq:     uint64(o.Now().UnixMicro()),
		// What makes a stream a bucket to other clients.
		AllowRollup: true,
		DenyDelete:  true,
		AllowDirect: true,
	}
	mend(&c)
	return c
}

// mend sets what the store relies on and what can be set. problem knows the same.
func mend(c *jetstream.StreamConfig) {
	c.MaxMsgsPerSubject = 1
	c.AllowMsgTTL = true
	c.MaxAge = 0
	c.MaxMsgs = -1
	c.Discard = jetstream.DiscardNew
	c.DiscardNewPerSubject = false
	c.NoAck = false
	// Nothing of the server's own is needed in the place of what has expired.
	c.SubjectDeleteMarkerTTL = 0
}

// problem returns what is wrong with the stream as a bucket for sessions, and
// whether mend mends it.
func problem(c *jetstream.StreamConfig) (what string, mendable bool) {
	switch {
	case c.Mirror != nil || len(c.Sources) > 0:
		return "is a copy of another; a copy is behind", false
	case c.Sealed:
		return "is sealed", false
	case c.SubjectTransform != nil:
		return "changes the names of keys (subject_transform)", false
	case !slices.Equal(c.Subjects, []string{"$KV." + c.Name[len("KV_"):] + ".>"}):
		return "does not take the subjects of a bucket", false
	case c.Retention != jetstream.LimitsPolicy:
		return "removes what was read (retention)", false
	case !c.AllowMsgTTL:
		return "has no time to live for a key (allow_msg_ttl)", true
	case c.MaxMsgsPerSubject != 1:
		return fmt.Sprintf("keeps %d values of a key (history)", c.MaxMsgsPerSubject), true
	case c.MaxAge != 0:
		return fmt.Sprintf("ends every session after %v (ttl)", c.MaxAge), true
	case c.Discard != jetstream.DiscardNew && (c.MaxBytes > 0 || c.MaxMsgs > 0):
		return "drops the oldest sessions when it is full (discard)", true
	case c.NoAck:
		return "does not acknowledge writes (no_ack)", true
	}
	return "", true
}

// A streamInfo is what a server says of a stream.
type streamInfo struct {
	apiReply
	Config  jetstream.StreamConfig `json:"config"`
	Created time.Time              `json:"created"`
	State   struct {
		LastSeq     uint64            `json:"last_seq"`
		NumSubjects int               `json:"num_subjects"`
		Subjects    map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Total int `json:"total"` // of the subjects that match, also those that are not in the answer
}

func (l *link) info(ctx context.Context) (*streamInfo, error) {
	var info streamInfo
	if err := l.ask(ctx, "STREAM.INFO", "", &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// inspect looks whether the bucket is there and as it must be.
func (s *Store) inspect(ctx context.Context) error {
	info, err := s.link.info(ctx)
	if err != nil {
		s.checked.Store(false)
		return err
	}
	if what, mendable := problem(&info.Config); what != "" {
		s.checked.Store(false)
		remedy := "Store.Migrate mends it"
		if !mendable {
			remedy = "choose another"
		}
		return &bucketError{s.opts.Bucket, what, remedy}
	}
	s.checked.Store(true)
	return nil
}

// Migrate makes the bucket, or brings one that is there to what the store needs;
// other settings stay as they are. It may be called at every start, by several
// programs at once: where nothing is to be done it only looks.
//
// Servers before version 2.11 know no time to live for a key, and it fails.
func (s *Store) Migrate(ctx context.Context) error { return fail(ctx, "migrate", s.migrate(ctx)) }

func (s *Store) migrate(ctx context.Context) error {
	l := s.link
	for {
		info, err := l.info(ctx)
		var missing *bucketError
		switch {
		case errors.As(err, &missing):
			err = l.manage(ctx, "STREAM.CREATE", schema(&s.opts))
		case err == nil:
			err = s.adapt(ctx, info.Config)
		}
		if isCode(err, codeNameInUse) {
			continue // somebody was faster
		}
		if err == nil {
			info, err = l.info(ctx)
		}
		if err != nil {
			return err
		}
		if what, _ := problem(&info.Config); what != "" {
			return &bucketError{s.opts.Bucket, what, "the servers must be of version 2.11 or newer"}
		}
		s.checked.Store(true)
		return nil
	}
}

// adapt changes the stream where that is needed.
func (s *Store) adapt(ctx context.Context, is jetstream.StreamConfig) error {
	what, mendable := problem(&is)
	switch {
	case what != "" && !mendable:
		return &bucketError{s.opts.Bucket, what, "choose another"}
	case is.Storage != s.opts.Storage:
		return &bucketError{s.opts.Bucket, fmt.Sprintf("has %v storage, which cannot be changed, and Options.Storage is %v", is.Storage, s.opts.Storage),
			"set the option, or choose another bucket"}
	}
	replicas := is.Replicas
	if s.opts.Replicas != 0 {
		replicas = s.opts.Replicas
	}
	if what == "" && replicas == is.Replicas {
		return nil
	}
	mend(&is)
	is.Replicas = replicas
	return s.link.manage(ctx, "STREAM.UPDATE", is)
}

// manage makes or changes the stream.
func (l *link) manage(ctx context.Context, api string, c jetstream.StreamConfig) error {
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return l.ask(ctx, api, string(payload), new(apiReply))
}
