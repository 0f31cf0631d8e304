package bfd

import (
	"testing"
	"time"
)

// FuzzParse: any bytes are taken or dropped; what is taken and encoded again is the same packet.
func FuzzParse(f *testing.F) {
	good := Packet{State: Up, Multiplier: 3, Mine: 7, Yours: 1, DesiredMinTx: time.Second, RequiredMinRx: time.Millisecond, Poll: true}
	f.Add(good.Append(nil))
	f.Add(append(good.Append(nil), 1, 2, 3))
	f.Add(good.Append(nil)[:23])
	withAuth := append(good.Append(nil), 1, 4, 1, 'x')
	withAuth[1] |= flagAuthentication
	withAuth[3] = 28
	f.Add(withAuth)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, drop := Parse(b)
		if drop != Taken {
			if p != (Packet{}) {
				t.Fatalf("dropped, and yet %+v", p)
			}
			return
		}
		again, drop := Parse(p.Append(nil))
		if drop != Taken || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, drop)
		}
	})
}

// FuzzExchange drives two sessions with whatever packets, times and settings the bytes say: the sessions' own packets, lost,
// doubled and reordered, and made-up ones. Nothing panics, the timers go on, and what is sent keeps the rules.
func FuzzExchange(f *testing.F) {
	f.Add(uint64(1), []byte{0, 10, 1, 0, 2, 0, 0, 200, 5, 3, 0, 50})
	f.Add(uint64(2), []byte{0, 255, 0, 255, 4, 1, 0, 255, 6, 9, 0, 255, 3, 0, 7, 1, 0, 255})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		x := newExchange(seed, [2]Settings{
			{Transmit: 50 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 3},
			{Transmit: 300 * time.Millisecond, Receive: 10 * time.Millisecond, Multiplier: 1},
		})
		x.check = func(from int, p Packet) { obeys(t, x.ends[from], p) }
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			i := int(op>>3) & 1
			switch op & 7 {
			case 0:
				x.bounded(t, time.Duration(arg)*10*time.Millisecond)
			case 1:
				x.lose, x.double, x.longest = float64(arg)/255, float64(arg>>4)/32, time.Duration(arg)*time.Millisecond+1
			case 2:
				x.restart(i)
			case 3: // configured
				x.set[i] = Settings{
					Transmit: time.Duration(arg&15)*10*time.Millisecond + time.Millisecond, Receive: time.Duration(arg>>4)*100*time.Millisecond + 1, Multiplier: arg,
					Passive: arg&1 != 0, ControlPlaneIndependent: arg&2 != 0, AdminDown: arg&7 == 7,
				}
				x.take(i, x.ends[i].Configure(x.set[i], x.now))
			case 4: // a packet from nowhere
				if len(script) < PacketLength {
					return
				}
				if p, drop := Parse(script[:PacketLength]); drop == Taken {
					p.Yours = x.ends[i].Discriminator()
					x.deliver(flight{to: i, p: p})
				}
				script = script[PacketLength:]
			case 5: // late
				late := time.Duration(arg) * 20 * time.Millisecond
				x.now = x.now.Add(late)
				x.ends[i].Excuse(time.Millisecond, time.Duration(arg)*time.Millisecond, x.now)
			case 6: // another process
				if from, ok := x.ends[i].Snapshot(); ok && from.Valid() {
					s, out := Resume(from, x.set[i], x.random.Float64, x.now)
					x.ends[i] = s
					x.take(i, out)
				}
			case 7:
				x.flight = nil
			}
			x.obey(t)
		}
	})
}

// bounded lets time pass and fails if more happens in it than intervals of a millisecond allow: a timer that stands still.
func (x *exchange) bounded(t *testing.T, d time.Duration) {
	steps := 0
	for end := x.now.Add(d); x.step(end); steps++ {
		if steps > 100_000 {
			t.Fatalf("time stands still at %v: %+v %+v", x.now, x.ends[0].Status(), x.ends[1].Status())
		}
	}
}

// obey checks what must hold of a session at all times.
func (x *exchange) obey(t *testing.T) {
	for _, s := range x.ends {
		switch {
		case s.state == Up && s.remote == 0:
			t.Fatalf("Up without a peer: %+v", s.Status())
		case s.state == Up && s.detectAt.IsZero():
			t.Fatalf("Up without a detection: %+v", s.Status())
		case s.state != Up && s.desiredTx < slowest:
			t.Fatalf("fast while %s: %+v", s.state, s.Status())
		case s.state == AdminDown != s.settings.AdminDown:
			t.Fatalf("%s: %+v", s.state, s.settings)
		}
	}
}

func obeys(t *testing.T, s *Session, p Packet) {
	parsed, drop := Parse(p.Append(nil))
	switch {
	case drop != Taken || parsed != p:
		t.Fatalf("sent %+v, which reads as %+v, %v", p, parsed, drop)
	case p.Poll && p.Final:
		t.Fatalf("Poll and Final: %+v", p)
	case p.RequiredMinEchoRx != 0 || p.Demand || p.Authentication:
		t.Fatalf("offers what it does not have: %+v", p)
	case p.State != Up && p.DesiredMinTx < slowest:
		t.Fatalf("fast while %s: %+v", p.State, p)
	case p.Yours != s.remote:
		t.Fatalf("speaks to %d, the peer is %d", p.Yours, s.remote)
	}
}
