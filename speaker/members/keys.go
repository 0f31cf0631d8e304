package members

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// The key that gossip is encrypted with comes from a Secret that the controller makes, and that reaches each node when
// its kubelet pleases, a minute and more apart. So a speaker may start before there is a key, and at any time some
// members know a new key and others do not. A member therefore gossips which keys it can read, and:
//
//   - before it has a key, it uses one that anybody can compute (openKey), which is as good as clear text;
//   - when a key comes, it reads both, and writes the new one only when every member can read it;
//   - when every member writes the new one, it no longer reads the old;
//   - after keyPatience it stops waiting for members that do not follow;
//   - a member that started with a key never uses openKey. It cannot join those that have no key yet, knows that
//     they are there, and so waits for them instead of believing itself alone.

// keyPatience is how long members wait for one another when a key changes. A kubelet updates a mounted Secret in about
// 90 s at most.
const keyPatience = 5 * time.Minute

// key is an AES-256 key.
type key [sha256.Size]byte

// openKey stands for no key.
var openKey = key(sha256.Sum256([]byte("metallb.io: gossip without a secret")))

// keyOf makes a key of the content of a Secret: the SHA-256 of its bytes without white space at the ends, because Secrets
// that were made by hand often end in a line break. No content gives openKey.
func keyOf(secret []byte) key {
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 {
		return openKey
	}
	return key(sha256.Sum256(secret))
}

// id names a key without giving it away.
func (k key) id() string {
	h := sha256.Sum256(append([]byte("id:"), k[:]...))
	return hex.EncodeToString(h[:4])
}

// keys decides which keys are used. It is pure: what time it is and what others know comes in.
type keys struct {
	// readable keys; the last is the newest.
	readable []key
	// writing is the one that is used for sending.
	writing key
	// since is when the newest key came or, once it is used for sending, since when.
	since time.Time
}

func newKeys(secret []byte) keys {
	k := keyOf(secret)
	return keys{readable: []key{k}, writing: k}
}

// newest is the key that all should come to use.
func (k *keys) newest() key { return k.readable[len(k.readable)-1] }

// learn takes the content of the Secret as it is now. An empty one is no news: a Secret that is deleted is made again.
func (k *keys) learn(secret []byte, now time.Time) (isNew bool) {
	n := keyOf(secret)
	if n == openKey || n == k.newest() {
		return false
	}
	k.readable = slices.DeleteFunc(k.readable, func(x key) bool { return x == n })
	k.readable = append(k.readable, n)
	k.since = now
	return true
}

// advance takes the next step of a change if the other members allow it. It reports whether anything is different.
func (k *keys) advance(others []meta, now time.Time) bool {
	newest := k.newest().id()
	patience := now.Sub(k.since) >= keyPatience
	switch {
	case k.writing != k.newest():
		if !patience && !all(others, func(m meta) bool { return slices.Contains(m.Reads, newest) }) {
			return false
		}
		k.writing = k.newest()
		k.since = now
		return true
	case len(k.readable) > 1:
		if !patience && !all(others, func(m meta) bool { return m.Writes == newest }) {
			return false
		}
		k.readable = k.readable[len(k.readable)-1:]
		return true
	default:
		return false
	}
}

func all(others []meta, ok func(meta) bool) bool {
	return !slices.ContainsFunc(others, func(m meta) bool { return !ok(m) })
}

// describe puts what others need to know into the member's data.
func (k *keys) describe(m *meta) {
	m.Reads = nil
	for _, r := range k.readable {
		m.Reads = append(m.Reads, r.id())
	}
	m.Writes = k.writing.id()
}

// apply brings memberlist's ring in line. Keys are removed from the end of the ring only: the ring removes others in
// place, under the eyes of a reader.
func (k *keys) apply(ring *memberlist.Keyring) error {
	for _, r := range k.readable {
		if err := ring.AddKey(r[:]); err != nil {
			return err
		}
	}
	if err := ring.UseKey(k.writing[:]); err != nil {
		return err
	}
	for _, r := range slices.Backward(ring.GetKeys()) {
		if slices.Contains(k.readable, key(r)) {
			break
		}
		if err := ring.RemoveKey(r); err != nil {
			return err
		}
	}
	return nil
}
