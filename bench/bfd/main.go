// Command bfd measures what BFD sessions cost, and stands for the speaker where the lab measures how fast they are.
//
//	go run ./bench/bfd                   CPU and memory of 1, 10, 100 and 500 sessions at 100 ms; ends with 1 where a bar of package bench is missed
//	bfd run -listen ADDRESS              runs the sessions that it is told of over TCP, until it is told to close
//	bfd burn -threads N                  keeps processors busy
//
// Measuring needs root and the command ip: the two ends are processes in network namespaces of their own.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
)

func main() {
	command, args := "measure", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "measure":
		err = measure(args)
	case "run":
		err = run(args)
	case "burn":
		err = burn(args)
	default:
		err = fmt.Errorf("no command %q; there are measure, run and burn", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bfd:", err)
		os.Exit(1)
	}
}

// run is the process with the sessions.
func run(args []string) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	listen := flags.String("listen", "", "TCP address to be told at; by default it is told over standard input")
	_ = flags.Parse(args)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *listen == "" {
		return bfdtest.Serve(os.Stdin, os.Stdout, log)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := udp.New(udp.Options{Log: log})
	front := bfdtest.NewFront(server)
	go func() {
		<-ctx.Done()
		_ = l.Close()
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if err := front.Talk(conn, conn); err != nil {
				log.Error("cannot talk", "error", err)
			}
		}()
	}
	farewell, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return server.Close(farewell)
}

// burn keeps so many threads busy until it is ended.
func burn(args []string) error {
	flags := flag.NewFlagSet("burn", flag.ExitOnError)
	threads := flags.Int("threads", 2, "how many")
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for range *threads {
		go func() {
			for n := 0; ; n++ { // the scheduler takes it off its thread now and then, and finds nothing else to run
				sink.store(n)
			}
		}()
	}
	<-ctx.Done()
	return nil
}

// sink keeps the compiler from removing the loops.
var sink counter

type counter struct{ n int }

//go:noinline
func (c *counter) store(n int) {
	if n < 0 {
		c.n = n
	}
}

func parseSizes(text string) (out []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > 10000 {
			return nil, fmt.Errorf("%q is no number from 1 to 10000", part)
		}
		out = append(out, n)
	}
	return out, nil
}

// measure measures in a network namespace of its own.
func measure(args []string) error {
	if outside, err := bench.Isolate(); outside {
		return err
	}
	flags := flag.NewFlagSet("measure", flag.ExitOnError)
	sizes := flags.String("n", "1,10,100,500", "numbers of sessions; bars of others are not judged")
	runs := flags.Int("runs", 3, "runs of each number; medians are judged")
	span := flags.Duration("for", 10*time.Second, "how long each run is watched")
	interval := flags.Duration("interval", 100*time.Millisecond, "between packets, in both directions")
	_ = flags.Parse(args)
	numbers, err := parseSizes(*sizes)
	if err != nil {
		return err
	}
	samples := bench.Samples{}
	for _, n := range numbers {
		for range *runs {
			if err := sessions(n, *interval, *span, samples); err != nil {
				return err
			}
		}
	}
	if !bench.Report(os.Stdout, bench.Judge(barsFor(numbers), samples)) {
		return fmt.Errorf("a bar is missed")
	}
	return nil
}

func barsFor(numbers []int) (out []bench.Bar) {
	for _, b := range bench.BFD {
		for _, n := range numbers {
			if b.Measure == bench.SessionsCPU(n) || b.Measure == bench.SessionsRSS(n) {
				out = append(out, b)
			}
		}
	}
	return out
}
