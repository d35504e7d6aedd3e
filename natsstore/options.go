package natsstore

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultBucket is the name of the bucket where Options names none.
const DefaultBucket = "sessions"

// Options are the settings of a Store. The zero value is right for a server
// alone; for a cluster, set Replicas.
type Options struct {
	// Bucket is the name of the bucket that holds the sessions: letters, digits, -
	// and _. It must hold nothing else. The default is [DefaultBucket].
	Bucket string

	// Replicas is on how many servers of a cluster the bucket is, 1 to 5; with 3
	// it outlives the loss of one. [Store.Migrate] makes a new bucket so, by
	// default with 1, and changes one that is there, unless this is zero.
	Replicas int

	// Storage is whether Migrate makes a new bucket on disk, the default, or in
	// the memory of the servers. It cannot be changed later.
	Storage jetstream.StorageType

	// Now tells the time, from which times to live are reckoned. Give it the clock
	// of the manager if that is not the default, [time.Now].
	Now func() time.Time
}

var bucketName = regexp.MustCompile(`^[-_a-zA-Z0-9]+$`)

// check returns the options with their defaults, or what is wrong with them.
func (o *Options) check() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Bucket == "" {
		opts.Bucket = DefaultBucket
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	const mostReplicas = 5
	switch {
	case !bucketName.MatchString(opts.Bucket):
		return opts, fmt.Errorf("natsstore: Options.Bucket is %q; it may have letters, digits, - and _", opts.Bucket)
	case opts.Replicas < 0 || opts.Replicas > mostReplicas:
		return opts, fmt.Errorf("natsstore: Options.Replicas is %d; it must be 1 to %d, or 0 for the default", opts.Replicas, mostReplicas)
	case opts.Storage != jetstream.FileStorage && opts.Storage != jetstream.MemoryStorage:
		return opts, errors.New("natsstore: Options.Storage must be jetstream.FileStorage or jetstream.MemoryStorage")
	}
	return opts, nil
}

const (
	// skew is what is added to times to live, as each replica reckons them by a
	// clock of its own.
	skew = time.Minute

	// longest is the most that servers can reckon with, and more than a life.
	longest = 200 * 365 * 24 * time.Hour
)

// ttl returns the time to live of what must be there until then, in whole
// seconds, as servers cut off what is less.
func (o *Options) ttl(until time.Time) time.Duration {
	// Seconds, because a time.Duration ends after 292 years.
	left := max(until.Unix()-o.Now().Unix()+1, 0)
	return time.Duration(min(left, int64(longest/time.Second)))*time.Second + skew
}
