package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A link is the way to the stream that a bucket is.
type link struct {
	js      jetstream.JetStream
	conn    *nats.Conn
	bucket  string
	stream  string
	api     string // begins the subjects of the API
	subject string // begins those of keys
	publish string // begins those of keys for who publishes, which in another domain differs
}

func newLink(js jetstream.JetStream, bucket string) *link {
	l := &link{js: js, conn: js.Conn(), bucket: bucket, stream: "KV_" + bucket, subject: "$KV." + bucket + "."}
	l.api, l.publish = jetstream.DefaultAPIPrefix, l.subject
	switch o := js.Options(); {
	case o.APIPrefix != "":
		l.api = o.APIPrefix
		if l.api[len(l.api)-1] != '.' {
			l.api += "."
		}
	case o.Domain != "":
		l.api = "$JS." + o.Domain + ".API."
	}
	if l.api != jetstream.DefaultAPIPrefix {
		l.publish = l.api + l.subject
	}
	return l
}

// How long to wait for an answer before a request is sent again: it may have gone
// to a leader that is no more. An answer that only takes long is not missed often,
// as the time doubles.
const (
	firstPatience = time.Second
	mostPatience  = 8 * time.Second
)

// A try counts the attempts of an operation and remembers why the last one failed.
type try struct {
	patience time.Duration
	pauses   int
	cause    error
}

// once sends a request and waits for its answer. The error is one of those that a
// try waits for, or one that lasts, or ctx's.
func (l *link) once(ctx context.Context, t *try, msg *nats.Msg) (*nats.Msg, error) {
	if !l.conn.IsConnected() {
		// The client would keep the request and send it when it is connected again,
		// when nobody waits for it any more.
		if l.conn.IsClosed() {
			return nil, nats.ErrConnectionClosed
		}
		return nil, errDown
	}
	t.patience = min(max(2*t.patience, firstPatience), mostPatience)
	limited, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	reply, err := l.conn.RequestMsgWithContext(limited, msg)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, t.interrupted(ctx.Err())
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNobody
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, errPayload
	case isLasting(err):
		return nil, err
	}
	return nil, errNoAnswer // or the connection was lost while we waited
}

// pause waits before the next attempt, a little longer each time, and not the same
// for all who compete. It is an error when ctx ends.
func (t *try) pause(ctx context.Context, cause error) error {
	const shortest, longest = 2 * time.Millisecond, 100 * time.Millisecond
	t.cause = cause
	most := min(shortest<<min(t.pauses, 10), longest)
	t.pauses++
	timer := time.NewTimer(most/2 + rand.N(most/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return t.interrupted(ctx.Err())
	}
}

// interrupted adds to an error with which a context has ended what was waited for,
// unless that is known.
func (t *try) interrupted(err error) error {
	var why *interruption
	if t.cause == nil || errors.As(err, &why) {
		return err
	}
	return &interruption{err, t.cause}
}

// waitsFor reports whether an error is one that passes.
func waitsFor(err error) bool {
	return err == errDown || err == errNobody || err == errNoAnswer || isCode(err, codeUnavailable, codeNotLeader)
}

// ask sends a request to the API, until there is an answer, and decodes it. The
// request may be received more than once.
func (l *link) ask(ctx context.Context, api, payload string, into interface{ failure() *apiError }) error {
	var t try
	for {
		reply, err := l.once(ctx, &t, &nats.Msg{Subject: l.api + api + "." + l.stream, Data: []byte(payload)})
		if err == nil {
			if json.Unmarshal(reply.Data, into) != nil {
				return errReply
			}
			if failure := into.failure(); failure != nil {
				err = l.explain(failure)
			}
		}
		if err == nil || !waitsFor(err) {
			return err
		}
		if err := t.pause(ctx, err); err != nil {
			return err
		}
	}
}

type apiReply struct {
	Error *apiError `json:"error"`
}

func (r *apiReply) failure() *apiError { return r.Error }

// A message is one of the stream.
type message struct {
	Seq    uint64 `json:"seq"`
	Header []byte `json:"hdrs"`
	Data   []byte `json:"data"`
	Time   string `json:"time"`
}

// errNoMessage is what last returns if there is none.
var errNoMessage = errors.New("there is no such message")

// last returns the last message at a key. Only the leader answers.
func (l *link) last(ctx context.Context, key string) (message, error) {
	var reply struct {
		apiReply
		Message *message `json:"message"`
	}
	err := l.ask(ctx, "STREAM.MSG.GET", `{"last_by_subj":"`+l.subject+key+`"}`, &reply)
	switch {
	case isCode(err, codeNoMessage):
		return message{}, errNoMessage
	case err != nil:
		return message{}, err
	case reply.Message == nil:
		return message{}, errReply
	}
	return *reply.Message, nil
}

// errRevision is what put returns where the revision is not the expected one. That
// may be so because a write is under way, of which nobody knows yet what becomes.
var errRevision = errors.New("the revision is another")

// The headers of what is written.
const (
	headerRevision  = "Nats-Expected-Last-Subject-Sequence"
	headerTTL       = "Nats-TTL"
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason"
	deletion        = "DEL"
)

// put writes a key, if its revision is the expected one, or in any case if that is
// nil, and returns the new one. If the error is errNoAnswer, nobody knows whether
// it was written.
func (l *link) put(ctx context.Context, t *try, key string, data []byte, header nats.Header, expected *uint64, ttl time.Duration) (revision uint64, err error) {
	if header == nil {
		header = nats.Header{}
	}
	header[headerTTL] = []string{ttl.String()}
	if expected != nil {
		header[headerRevision] = []string{strconv.FormatUint(*expected, 10)}
	}
	msg := &nats.Msg{Subject: l.publish + key, Header: header, Data: data}
	for {
		reply, err := l.once(ctx, t, msg)
		if err == nil {
			revision, err = l.stored(reply)
		}
		if err == errNobody {
			// A bucket that is not there has nobody who answers either.
			if _, infoErr := l.info(ctx); infoErr != nil {
				err = infoErr
			}
		}
		if err == nil || err == errNoAnswer || !waitsFor(err) {
			return revision, err
		}
		if err := t.pause(ctx, err); err != nil {
			return 0, err
		}
	}
}

func (l *link) stored(reply *nats.Msg) (revision uint64, err error) {
	var ack struct {
		apiReply
		Seq uint64 `json:"seq"`
	}
	switch {
	case json.Unmarshal(reply.Data, &ack) != nil:
		return 0, errReply
	case ack.Error == nil && ack.Seq == 0:
		return 0, errReply
	case ack.Error == nil:
		return ack.Seq, nil
	case isCode(ack.Error, codeWrongRevision, codeInProgress):
		return 0, errRevision
	}
	return 0, l.explain(ack.Error)
}

// explain puts into words what the server says and how to mend it.
func (l *link) explain(e *apiError) error {
	switch {
	case isCode(e, codeNoStream):
		return &bucketError{l.bucket, "does not exist", "Store.Migrate makes it"}
	case isCode(e, codeTTLDisabled):
		return &bucketError{l.bucket, "has no time to live for a key (allow_msg_ttl)", "Store.Migrate mends it"}
	case isCode(e, codeTooLarge, codeHeaderSize), isCode(e, codeNotStored) && e.Description == "message too large":
		return errPayload
	case isCode(e, codeNotStored) && e.Description == "maximum bytes exceeded":
		return errFull
	case isCode(e, codeNotEnabled, codeNotForAccount):
		return errors.New("JetStream is not enabled on the server, or for the account")
	}
	return e
}
