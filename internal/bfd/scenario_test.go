package bfd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected results of the scenarios")

// stage is a session in virtual time. Lines drive it:
//
//	session [tx=300ms] [rx=300ms] [mult=3] [passive] [c] [admindown]    makes it, with discriminator 1
//	configure ...                                                       the same words
//	random X              what the source of jitter gives from now on, 0 at first: no jitter
//	receive STATE [my=7] [your=1] [tx=1s] [rx=300ms] [mult=3] [diag=N] [P] [F] [C] [D]
//	run DURATION          prints every packet
//	pass DURATION         prints the changes, and sums packets up
//	late DURATION         the process had no processor for so long, and finds nothing to read
//	resume ...            another process goes on with it
//	status
//
// The indented lines after each are expected. Times are since the beginning.
type stage struct {
	s      *Session
	start  time.Time
	now    time.Time
	random float64
	out    strings.Builder
	// the packets of pass
	count          int
	last           time.Time
	least, longest time.Duration
}

func newStage() *stage {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &stage{start: start, now: start}
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(text), got); d != "" && !*update {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// play runs a scenario and returns it with what came of it.
func play(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	p := newStage()
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		b.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.out.Reset()
		if err := p.do(strings.Fields(line)); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		b.WriteString(p.out.String())
	}
	return b.String()
}

func (p *stage) do(words []string) error {
	name, args := words[0], words[1:]
	switch name {
	case "session":
		set, err := settings(args)
		*p = stage{start: p.start, now: p.start}
		p.s = New(1, set, func() float64 { return p.random }, p.now)
		return err
	case "configure":
		set, err := settings(args)
		p.take(p.s.Configure(set, p.now))
		return err
	case "resume":
		set, err := settings(args)
		from, ok := p.s.Snapshot()
		if !ok {
			return fmt.Errorf("there is nothing to resume")
		}
		var out Output
		p.s, out = Resume(from, set, func() float64 { return p.random }, p.now)
		p.take(out)
		return err
	case "random":
		var err error
		p.random, err = strconv.ParseFloat(args[0], 64)
		return err
	case "receive":
		return p.receive(args)
	case "run", "pass", "late":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		p.run(d, name)
		return nil
	case "status":
		p.status()
		return nil
	}
	return fmt.Errorf("no command %q", name)
}

func settings(words []string) (Settings, error) {
	set := Settings{Transmit: 300 * time.Millisecond, Receive: 300 * time.Millisecond, Multiplier: 3}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		var err error
		switch name {
		case "tx":
			set.Transmit, err = time.ParseDuration(value)
		case "rx":
			set.Receive, err = time.ParseDuration(value)
		case "mult":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 8)
			set.Multiplier = uint8(n)
		case "passive":
			set.Passive = true
		case "c":
			set.ControlPlaneIndependent = true
		case "admindown":
			set.AdminDown = true
		default:
			err = fmt.Errorf("no setting %q", w)
		}
		if err != nil {
			return set, err
		}
	}
	return set, nil
}

func (p *stage) receive(words []string) error {
	in := Packet{Mine: 7, Yours: 1, DesiredMinTx: time.Second, RequiredMinRx: 300 * time.Millisecond, Multiplier: 3}
	for state := AdminDown; state <= Up; state++ {
		if state.String() == words[0] {
			in.State = state
		}
	}
	if in.State.String() != words[0] {
		return fmt.Errorf("no state %q", words[0])
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		n, _ := strconv.ParseUint(value, 10, 32)
		var err error
		switch name {
		case "my":
			in.Mine = uint32(n)
		case "your":
			in.Yours = uint32(n)
		case "tx":
			in.DesiredMinTx, err = time.ParseDuration(value)
		case "rx":
			in.RequiredMinRx, err = time.ParseDuration(value)
		case "mult":
			in.Multiplier = uint8(n)
		case "diag":
			in.Diagnostic = Diagnostic(n)
		case "P":
			in.Poll = true
		case "F":
			in.Final = true
		case "C":
			in.ControlPlaneIndependent = true
		case "D":
			in.Demand = true
		default:
			err = fmt.Errorf("no field %q", w)
		}
		if err != nil {
			return err
		}
	}
	parsed, drop := Parse(in.Append(nil)) // as it comes from the wire
	if drop == Taken {
		var out Output
		out, drop = p.s.Receive(parsed, p.now)
		p.take(out)
	}
	if drop != Taken {
		p.print("dropped: " + drop.String())
	}
	return nil
}

// run lets time pass, and the session do what is due when it is due.
func (p *stage) run(d time.Duration, how string) {
	end := p.now.Add(d)
	if how == "late" {
		p.now = end
		if p.s.Excuse(10*time.Millisecond, 20*time.Millisecond, p.now) {
			p.print(fmt.Sprintf("excused until %s", p.since(p.s.detectAt)))
		}
		p.take(p.s.Tick(p.now))
		return
	}
	p.count, p.least, p.longest, p.last = 0, time.Hour, 0, p.s.lastTx
	for at := p.s.Deadline(); !at.IsZero() && !at.After(end); at = p.s.Deadline() {
		if at.After(p.now) {
			p.now = at
		}
		out := p.s.Tick(p.now)
		if how == "pass" && out.Send && !out.Changed {
			gap := p.now.Sub(p.last)
			p.count, p.last = p.count+1, p.now
			p.least, p.longest = min(p.least, gap), max(p.longest, gap)
			continue
		}
		p.take(out)
	}
	p.now = end
	if how == "pass" && p.count > 0 {
		p.print(fmt.Sprintf("%d packets, %v to %v apart", p.count, p.least, p.longest))
	}
}

func (p *stage) since(at time.Time) string { return at.Sub(p.start).String() }

func (p *stage) print(text string) { fmt.Fprintf(&p.out, "  %-6s %s\n", p.since(p.now), text) }

func (p *stage) take(out Output) {
	if out.Changed {
		p.print(fmt.Sprintf("%s to %s: %s", out.From, p.s.State(), p.s.Status().Diagnostic))
	}
	if out.Send {
		parsed, drop := Parse(out.Packet.Append(nil))
		if drop != Taken || parsed != out.Packet {
			p.print("the packet is not well formed: " + drop.String())
		}
		p.print("send " + describe(out.Packet))
	}
}

func describe(p Packet) string {
	text := fmt.Sprintf("%s my=%d your=%d tx=%v rx=%v mult=%d", p.State, p.Mine, p.Yours, p.DesiredMinTx, p.RequiredMinRx, p.Multiplier)
	if p.Diagnostic != 0 {
		text += fmt.Sprintf(" diag=%d", p.Diagnostic)
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{p.Poll, "P"}, {p.Final, "F"}, {p.ControlPlaneIndependent, "C"}, {p.Demand, "D"}} {
		if f.set {
			text += " " + f.name
		}
	}
	return text
}

func (p *stage) status() {
	st := p.s.Status()
	text := fmt.Sprintf("%s since %s: %s; transmit %v, detection %v; remote %s discriminator %d", st.State, p.since(st.Since), st.Diagnostic,
		st.TransmitInterval, st.DetectionTime, st.Remote.State, st.Remote.Discriminator)
	if st.Polling {
		text += "; polling"
	}
	if !st.LastDown.IsZero() {
		text += fmt.Sprintf("; last down %s: %s", p.since(st.LastDown), st.LastDownDiagnostic)
	}
	p.print(text)
}
