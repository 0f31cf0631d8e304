package legacy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Names are made of what an entry is, never of its place: an entry that comes or goes elsewhere changes no other's
// name, so that no session and no pool is made anew because of it.

// objectName makes the name of an object of any text. A text that is one already stays as it is; of any other what can
// stay does, and a hash of it all tells it from others.
func objectName(text string) string {
	if len(validation.IsDNS1123Subdomain(text)) == 0 {
		return text
	}
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	return strings.TrimLeft(strings.TrimSuffix(b.String(), "-")+"-", "-") + hash(text)
}

// fits cuts a name that is too long for an object, and makes up for it with a hash.
func fits(name string) string {
	if len(name) <= validation.DNS1123SubdomainMaxLength {
		return name
	}
	return strings.TrimRight(name[:200], "-.") + "-" + hash(name)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// peerName names a peer by its address: peer-192-0-2-1. IPv6 is written out, since a name cannot end in a dash.
func peerName(a netip.Addr) string {
	return "peer-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.StringExpanded())
}

// advertisementName names an advertisement by its pool and its prefix lengths, which are what tells several of one pool
// apart: default-32-128.
func advertisementName(pool string, a Advertisement) string {
	return fits(fmt.Sprintf("%s-%d-%d", pool, a.Length4, a.Length6))
}

// PasswordSecret is the name of the Secret with the password of a peer.
func PasswordSecret(peer string) string { return fits(peer + "-password") }
