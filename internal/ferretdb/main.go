// Command ferretdb is a server that speaks MongoDB's protocol, for tests:
// FerretDB 1 with its SQLite backend, behind a queue.
//
//	ferretdb -listen 127.0.0.1:27017 -monitor 127.0.0.1:27018 -dir data
//
// It is a module of its own outside of the workspace, because it needs some sixty
// modules in versions that nothing else here should get. Package servers builds it
// and starts it as a process, which can then be killed.
//
// # The queue
//
// MongoDB finds and changes a document in one step. FerretDB 1 does not: it reads
// all documents, looks for those that match, and then overwrites them by their
// _id, whatever has become of them. Of two updates at the same time that match the
// same version both succeed. So here one command is run after another, which gives
// a command what MongoDB promises for it, and a client that needs two nothing.
//
// # The monitor
//
// Who connects to the second address gets a copy of every command and of the reply
// to it, in the order in which they were run, in MongoDB's own framing.
//
// # What else FerretDB 1 lacks
//
// TTL and partial indexes (createIndexes refuses them), collations, transactions
// and logical sessions, replica sets, change streams. It ignores read and write
// concerns.
//
// It ends at once when it is told to. What was acknowledged survives the end of the
// process, as SQLite has written it, but not that of the machine.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "", "`address` for clients")
	monitor := flag.String("monitor", "", "`address` for those who want to see all commands")
	dir := flag.String("dir", "", "`folder` of the databases, which must exist")
	flag.Parse()
	if err := run(*listen, *monitor, *dir); err != nil {
		log.Fatal(err)
	}
}

func run(listen, monitor, dir string) error {
	clients, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	watchers, err := net.Listen("tcp", monitor)
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "socket")
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	backend, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/?_pragma=synchronous(off)",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	q := &queue{socket: socket}
	go accept(clients, q.serve)
	go accept(watchers, q.watch)
	log.Print("serving on ", listen)
	return backend.Run(context.Background())
}

func accept(l net.Listener, handle func(net.Conn) error) {
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			if err := handle(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				log.Print(err)
			}
		}()
	}
}

// A queue runs the commands of all clients one after another.
type queue struct {
	socket string

	mu       sync.Mutex
	watchers []net.Conn
}

// serve runs the commands of one client.
func (q *queue) serve(client net.Conn) error {
	backend, err := net.Dial("unix", q.socket)
	if err != nil {
		return err
	}
	defer backend.Close()
	for {
		request, err := readMessage(client)
		if err != nil {
			return err
		}
		reply, err := q.run(backend, request)
		if err != nil {
			return err
		}
		if _, err := client.Write(reply); err != nil {
			return err
		}
	}
}

// run runs one command to its end, also if the client has gone meanwhile: what
// comes next must not meet it half done.
func (q *queue) run(backend net.Conn, request []byte) (reply []byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, err := backend.Write(request); err != nil {
		return nil, err
	}
	if reply, err = readMessage(backend); err != nil {
		return nil, err
	}
	kept := q.watchers[:0]
	for _, w := range q.watchers {
		const patience = 10 * time.Second // a watcher that does not read must not hold up all clients
		w.SetWriteDeadline(time.Now().Add(patience))
		_, err1 := w.Write(request)
		_, err2 := w.Write(reply)
		if err1 != nil || err2 != nil {
			w.Close()
			continue
		}
		kept = append(kept, w)
	}
	q.watchers = kept
	return reply, nil
}

// watch adds a watcher, tells it so with an empty message, and returns when it has
// gone.
func (q *queue) watch(conn net.Conn) error {
	q.mu.Lock()
	_, err := conn.Write(binary.LittleEndian.AppendUint32(nil, lengthWidth))
	q.watchers = append(q.watchers, conn)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

const (
	lengthWidth = 4
	mostLength  = 64 << 20 // MongoDB takes 48 MB
)

// readMessage reads a message, which begins with its length in bytes. Each has one
// reply; those that want none, as unacknowledged writes do, are not for this queue.
func readMessage(from io.Reader) ([]byte, error) {
	var head [lengthWidth]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length < lengthWidth || length > mostLength {
		return nil, fmt.Errorf("a message has the length %d", length)
	}
	message := make([]byte, length)
	copy(message, head[:])
	_, err := io.ReadFull(from, message[lengthWidth:])
	return message, err
}
