package apiserver

import (
	"bufio"
	"context"
	"math"
	"net"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

const (
	// pause is the longest that what the API server has sent waits to be received.
	pause = 100 * time.Millisecond
	// busy is how many bytes come within the time of a pause, on average, when pauses begin: some 26 small Services a second, of
	// which each comes twice, as it is made and with its address.
	busy = 6400
	// window is over how many pauses the average goes, the last weighing most. Each counts for twice busy at most: what is listed
	// at once is not waited for, only what goes on.
	window = 20
	// receiveBuffer is the most that is received at once. What comes in pieces as large as plenty is received without pauses.
	receiveBuffer, plenty = 64 << 10, 16 << 10
)

// NewCoalescingCache makes a cache as NewCache does, for who is told of very many changes and may hear of them a pause late: while
// they come in quick succession they are received together. Most of the processor time of a change is that of waking what
// deals with it, and that has gone to sleep again when the next one comes. It is what network cards do with their interrupts.
// The API server is reached as Config says; nothing else goes over the cache's connection.
func NewCoalescingCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	config = rest.CopyConfig(config)
	dial := config.Dial
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return coalesce(conn), nil
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	options.HTTPClient = httpClient
	return NewCache(config, options)
}

// coalescing is a connection of which one goroutine reads.
type coalescing struct {
	net.Conn
	buffer *bufio.Reader
	began  time.Time
	// received is when something was received last, and piece how many bytes.
	received time.Time
	piece    int
	// average is of the bytes that came within the time of a pause; sum are those of the present one, which is number slot.
	average float64
	sum     int
	slot    time.Duration
}

func coalesce(conn net.Conn) *coalescing {
	c := &coalescing{Conn: conn, began: time.Now()}
	c.buffer = bufio.NewReaderSize(receiver{c}, receiveBuffer)
	return c
}

// Read is of net.Conn.
func (c *coalescing) Read(b []byte) (int, error) { return c.buffer.Read(b) }

// receiver fills the buffer.
type receiver struct{ *coalescing }

// Read is of io.Reader.
func (r receiver) Read(b []byte) (int, error) {
	if r.average > busy && r.piece < plenty {
		time.Sleep(pause - time.Since(r.received))
	}
	n, err := r.Conn.Read(b)
	r.received, r.piece = time.Now(), n
	r.count(n)
	return n, err
}

// count brings the average up to date with bytes that have just been received.
func (c *coalescing) count(n int) {
	const weight = 1. / window
	if slot := c.received.Sub(c.began) / pause; slot != c.slot {
		c.average += weight * (float64(min(c.sum, 2*busy)) - c.average)
		c.average *= math.Pow(1-weight, float64(slot-c.slot-1)) // nothing came meanwhile
		c.slot, c.sum = slot, 0
	}
	c.sum += n
}
