// Command echo answers on TCP and UDP ports and says who answered whom.
//
//	TCP_PORTS, UDP_PORTS  comma-separated ports and ranges, "33001,33002-33010"; 8080 when unset
//	POD_NAME, NODE_NAME   what it says of itself
//
// Every answer is one line, "<protocol> pod=<pod> node=<node> from=<peer> to=<own address>",
// then for UDP and for lines over TCP a space and what was sent, quoted. A TCP connection whose
// first line is an HTTP request is served HTTP; any other gets one line for each line it sends, for as long as it likes.
// It ends on SIGTERM at once, without goodbyes: connections break as with a Pod that is killed.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	tcp, err := ports("TCP_PORTS")
	if err != nil {
		log.Fatal(err)
	}
	udp, err := ports("UDP_PORTS")
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	for _, port := range tcp {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- serveTCP(l) }()
	}
	for _, port := range udp {
		c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- serveUDP(c) }()
	}
	log.Printf("listening on TCP %v and UDP %v", tcp, udp)
	log.Fatal(<-failed)
}

// ports reads a list of ports from an environment variable.
func ports(variable string) ([]uint16, error) {
	list := os.Getenv(variable)
	if list == "" {
		return []uint16{8080}, nil
	}
	var all []uint16
	for item := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from == 0 || from > to {
			return nil, fmt.Errorf("%s: %q is neither a port nor a range of ports such as 33001-33010", variable, item)
		}
		for port := from; port <= to; port++ {
			all = append(all, uint16(port))
		}
	}
	return all, nil
}

func answer(protocol string, from, to net.Addr) string {
	return fmt.Sprintf("%s pod=%s node=%s from=%s to=%s", protocol, os.Getenv("POD_NAME"), os.Getenv("NODE_NAME"), from, to)
}

func serveUDP(c net.PacketConn) error {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		// An answer that is lost is the asker's to notice.
		_, _ = fmt.Fprintf(packetTo{c, from}, "%s %q\n", answer("udp", from, c.LocalAddr()), b[:n])
	}
}

// packetTo writes each Write as one packet.
type packetTo struct {
	net.PacketConn
	to net.Addr
}

func (p packetTo) Write(b []byte) (int, error) { return p.WriteTo(b, p.to) }

func serveTCP(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := serve(c); err != nil && !errors.Is(err, io.EOF) {
				log.Printf("%s: %v", c.RemoteAddr(), err)
			}
		}()
	}
}

// serve answers HTTP requests or lines, as the first line is, until the peer
// has had enough.
func serve(c net.Conn) error {
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	said := answer("tcp", c.RemoteAddr(), c.LocalAddr())
	if _, version, _ := strings.Cut(line, " HTTP/"); version != "" {
		return serveHTTP(c, bufio.NewReader(io.MultiReader(strings.NewReader(line), r)), said)
	}
	for ; err == nil; line, err = r.ReadString('\n') {
		if _, err := fmt.Fprintf(c, "%s %q\n", said, strings.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
	return err
}

func serveHTTP(c net.Conn, r *bufio.Reader, said string) error {
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return err
		}
		body := said + "\n"
		response := http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: request, Close: request.Close,
			Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
		if err := response.Write(c); err != nil || request.Close {
			return err
		}
	}
}
