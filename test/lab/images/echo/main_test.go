package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPorts(t *testing.T) {
	for name, test := range map[string]struct {
		list    string
		want    []uint16
		refused bool
	}{
		"unset":                       {"", []uint16{8080}, false},
		"one":                         {"33001", []uint16{33001}, false},
		"a list with a range":         {"80, 33001-33003", []uint16{80, 33001, 33002, 33003}, false},
		"the highest, as a range too": {"65535,65534-65535", []uint16{65535, 65534, 65535}, false},
		"a word":                      {"http", nil, true},
		"zero":                        {"0", nil, true},
		"too high":                    {"65536", nil, true},
		"ends swapped":                {"33003-33001", nil, true},
		"an open range":               {"33001-", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEST_PORTS", test.list)
			got, err := ports("TEST_PORTS")
			if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != test.refused {
				t.Errorf("%v%s", err, diff)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Setenv("POD_NAME", "echo-1")
	t.Setenv("NODE_NAME", "node1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = serveTCP(l) }() // until l is closed

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, line := range []string{"one", "", "GET three"} { // the connection stays
		fmt.Fprintf(conn, "%s\n", line)
		got, err := r.ReadString('\n')
		want := fmt.Sprintf("tcp pod=echo-1 node=node1 from=%s to=%s %q\n", conn.LocalAddr(), l.Addr(), line)
		if err != nil || got != want {
			t.Errorf("line %q: %q, want %q; %v", line, got, want, err)
		}
	}

	for range 2 { // the second time on the same connection
		response, err := http.Post("http://"+l.Addr().String()+"/some/path", "text/plain", strings.NewReader("said\nthis\n"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "tcp pod=echo-1 node=node1 from=127.0.0.1:") {
			t.Errorf("HTTP: %s %q %v", response.Status, body, err)
		}
		response.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go func() { _ = serveUDP(packets) }() // until packets is closed
	asker, err := net.Dial("udp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	fmt.Fprint(asker, "hello")
	b := make([]byte, 1000)
	if err := asker.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := asker.Read(b)
	want := fmt.Sprintf("udp pod=echo-1 node=node1 from=%s to=%s \"hello\"\n", asker.LocalAddr(), packets.LocalAddr())
	if err != nil || string(b[:n]) != want {
		t.Errorf("UDP: %q, want %q; %v", b[:n], want, err)
	}
}
