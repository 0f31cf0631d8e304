package legacy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/internal/legacy"
)

// peer and pool are good entries, to be made bad by what is put behind or in.
const (
	peer = "peers:\n- my-asn: 64512\n  peer-asn: 64513\n  peer-address: 192.0.2.1\n"
	pool = "address-pools:\n- name: a\n  protocol: layer2\n  addresses:\n  - 192.0.2.0/24\n"
	bgp  = "address-pools:\n- name: a\n  protocol: bgp\n  addresses:\n  - 192.0.2.0/24\n  bgp-advertisements:\n  - "
)

func without(text, line string) string {
	if !strings.Contains(text, line) {
		panic(line)
	}
	return strings.Replace(text, line, "", 1)
}

func with(text, old, replacement string) string {
	if !strings.Contains(text, old) {
		panic(old)
	}
	return strings.Replace(text, old, replacement, 1)
}

// problems are what is said of a text, a line each: severity: place: message.
var problems = map[string]struct{ text, want string }{
	"nothing":                    {"", ""},
	"an empty mapping":           {"{}", ""},
	"null":                       {"~", ""},
	"a comment":                  {"# nothing\n", ""},
	"all keys, with nothing":     {"peers:\nbgp-communities:\nbfd-profiles: []\naddress-pools:\npeer-autodiscovery:\n", ""},
	"a good peer":                {peer, ""},
	"a good pool":                {pool, ""},
	"another document is warned": {pool + "---\na: b\n", "Warning: line 7: only the first YAML document counts, as ever: move what comes after the --- into it, or remove it"},
	"another, broken document":   {pool + "---\n[\n", "Warning: only the first YAML document counts, as ever; what comes after the --- cannot even be read: remove it"},
	"an empty one after it":      {"---\n" + pool + "---\n", ""},

	// The text as a whole.
	"a list":                 {"- a\n", "Error: line 1: is a list, not a mapping: write address-pools: or peers: at its top"},
	"a text":                 {"hello\n", "Error: line 1: is a single value, not a mapping: write address-pools: or peers: at its top"},
	"an unknown key":         {pool + "foo: bar\n", "Error: line 6: foo: is not a key that is known here: remove it"},
	"a key misspelt":         {"address-pool:\n- name: a\n", "Error: line 1: address-pool: is not a key that is known here: did you mean address-pools?"},
	"a key in camel case":    {"addressPools: []\n", "Error: line 1: addressPools: is not a key that is known here: did you mean address-pools?"},
	"a key twice":            {pool + "address-pools: []\n", "Error: line 6: has the key address-pools twice: keep one of them"},
	"a key that is a list":   {"[a]: b\n", "Error: line 1: has a key that is not a text: write key: value"},
	"a key that is nothing":  {"~: b\n", "Error: line 1: has a key that is not a text: write key: value"},
	"peer-autodiscovery":     {"peer-autodiscovery:\n  from-labels: []\n" + pool, "Warning: line 1: peer-autodiscovery: is not supported, so no peers are made of it: list them under peers; all else is used"},
	"peers that are a map":   {"peers: {my-asn: 1}\n", "Error: line 1: peers: is a mapping (key: value), not a list: write - before each entry"},
	"pools that are a text":  {"address-pools: a\n", "Error: line 1: address-pools: is a single value, not a list: write - before each entry"},
	"a peer that is a text":  {"peers:\n- a\n", "Error: line 2: peers[0]: is a single value, not a mapping: write my-asn:, peer-asn: and peer-address:"},
	"a pool that is nothing": {"address-pools:\n-\n", "Error: line 2: address-pools[0]: is empty: remove the dash, or write the entry"},
	"a peer that is nothing": {"peers:\n-\n", "Error: line 2: peers[0]: is empty: remove the dash, or write the entry"},
	"a tab":                  {"address-pools:\n- name: a\n\tprotocol: layer2\n", "Error: line 3: the text is not valid YAML: the line begins with a tab; write spaces"},
	"wrong indentation":      {"peers:\n- my-asn: 64512\n  peer-asn: 64513\n peer-address: 192.0.2.1\n", "Error: line 4: the text is not valid YAML: did not find expected key"},
	"an open bracket":        {pool + "peers: [\n", "Error: line 6: the text is not valid YAML: did not find expected node content"},
	"a colon at the end":     {"peers:\n- peer-address: 2001:db8::\n", "Error: line 2: the text is not valid YAML: mapping values are not allowed in this context; a text that ends with a colon must be in quotes"},
	"not UTF-8":              {"peers:\n- \xff\xfe\n", "Error: line 2: the text is not valid YAML: invalid leading UTF-8 octet"},
	"an unknown anchor":      {"peers:\n- my-asn: *mine\n", "Error: line 2: the text is not valid YAML: it refers to an anchor (&name) that is not there; a text that begins with * must be in quotes"},
	"too long":               {pool + "#" + strings.Repeat("x", 1<<20), "Error: the text has 1048651 bytes: a ConfigMap holds 1048576 at most"},
	"a merge of a list of mappings": {"peers:\n- &a {my-asn: 64512, peer-asn: 64513, peer-address: 192.0.2.1}\n- <<: [*a, {hold-time: 3}]\n  peer-address: 192.0.2.2\n",
		"Error: line 3: peers[1].hold-time: \"3\" has no unit: write for instance 90s"},
	"a merge of a text": {"peers:\n- <<: a\n  my-asn: 64512\n  peer-asn: 64513\n  peer-address: 192.0.2.1\n", "Error: line 2: peers[0]: merges (<<) what is not a mapping: remove it"},
	"a merge of itself": {"peers:\n- &a\n  <<: *a\n  my-asn: 64512\n  peer-asn: 64513\n  peer-address: 192.0.2.1\n", ""},

	// Peers.
	"my-asn missing":                {without(peer, "my-asn: 64512\n  "), "Error: line 2: peers[0].my-asn: is missing: write the AS number of the nodes, for instance 64512"},
	"my-asn null":                   {with(peer, "64512", "~"), "Error: line 2: peers[0].my-asn: is missing: write the AS number of the nodes, for instance 64512"},
	"my-asn 0":                      {with(peer, "64512", "0"), `Error: line 2: peers[0].my-asn: "0" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"my-asn of 33 bits":             {with(peer, "64512", "4294967296"), `Error: line 2: peers[0].my-asn: "4294967296" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"my-asn huge":                   {with(peer, "64512", strings.Repeat("9", 80)), `Error: line 2: peers[0].my-asn: "` + strings.Repeat("9", 64) + `…" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"my-asn negative":               {with(peer, "64512", "-1"), `Error: line 2: peers[0].my-asn: "-1" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"my-asn with a fraction":        {with(peer, "64512", "1.5"), `Error: line 2: peers[0].my-asn: "1.5" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"my-asn of forms of YAML":       {with(peer, "64512", "0xFC_00"), ""},
	"my-asn as 64512.0":             {with(peer, "64512", "64512.0"), ""},
	"my-asn in quotes":              {with(peer, "64512", `"64512"`), "Error: line 2: peers[0].my-asn: is a text, not a number: write it without quotes"},
	"my-asn a list":                 {with(peer, "64512", "[64512]"), "Error: line 2: peers[0].my-asn: is a list: write a number, for instance 64512"},
	"peer-asn missing":              {without(peer, "peer-asn: 64513\n  "), "Error: line 2: peers[0].peer-asn: is missing: write the AS number of the peer, for instance 64513"},
	"peer-asn 0":                    {with(peer, "64513", "0"), `Error: line 3: peers[0].peer-asn: "0" is not a whole number from 1 to 4294967295: write for instance 64512`},
	"peer-address missing":          {without(peer, "  peer-address: 192.0.2.1\n"), "Error: line 2: peers[0].peer-address: is missing: write the IP address of the peer"},
	"peer-address empty":            {with(peer, "192.0.2.1", `""`), "Error: line 4: peers[0].peer-address: is empty: write the IP address of the peer"},
	"peer-address a name":           {with(peer, "192.0.2.1", "router.example"), `Error: line 4: peers[0].peer-address: "router.example" is not an IP address: write for instance 192.0.2.1`},
	"peer-address a prefix":         {with(peer, "192.0.2.1", "192.0.2.1/24"), `Error: line 4: peers[0].peer-address: "192.0.2.1/24" is not an IP address: write for instance 192.0.2.1`},
	"peer-address with zone":        {with(peer, "192.0.2.1", "fe80::1%eth0"), `Error: line 4: peers[0].peer-address: "fe80::1%eth0" is not an IP address: write for instance 192.0.2.1`},
	"source-address":                {peer + "  source-address: x\n", `Error: line 5: peers[0].source-address: "x" is not an IP address: write for instance 192.0.2.1`},
	"peer-port 0 is 179":            {peer + "  peer-port: 0\n", ""},
	"peer-port of 17 bits":          {peer + "  peer-port: 65536\n", `Error: line 5: peers[0].peer-port: "65536" is not a whole number from 0 to 65535: write for instance 179`},
	"hold-time without unit":        {peer + "  hold-time: 90\n", `Error: line 5: peers[0].hold-time: "90" has no unit: write for instance 90s`},
	"hold-time no time":             {peer + "  hold-time: soon\n", `Error: line 5: peers[0].hold-time: "soon" is not a time: write a number with its unit, for instance 90s`},
	"hold-time 0":                   {peer + "  hold-time: 0\n", ""},
	"hold-time too short":           {peer + "  hold-time: 2.9s\n", "Error: line 5: peers[0].hold-time: 2.9s is not a hold time: write 0s for none, or 3s to 65535s"},
	"hold-time too long":            {peer + "  hold-time: 19h\n", "Error: line 5: peers[0].hold-time: 19h0m0s is not a hold time: write 0s for none, or 3s to 65535s"},
	"hold-time negative":            {peer + "  hold-time: -500ms\n", "Error: line 5: peers[0].hold-time: -500ms is not a hold time: write 0s for none, or 3s to 65535s"},
	"keepalive-time":                {peer + "  keepalive-time: x\n", `Error: line 5: peers[0].keepalive-time: "x" is not a time: write a number with its unit, for instance 30s`},
	"keepalive-time negative":       {peer + "  keepalive-time: -1s\n", "Error: line 5: peers[0].keepalive-time: -1s is not a keepalive time: write for instance 30s"},
	"keepalive over hold":           {peer + "  keepalive-time: 91s\n", "Error: line 5: peers[0].keepalive-time: 1m31s is longer than the hold time of 1m30s, so that the session would end before the next keepalive: write a third of it"},
	"router-id":                     {peer + "  router-id: 1\n", `Error: line 5: peers[0].router-id: "1" is not an IP address: write for instance 192.0.2.1`},
	"router-id of IPv6":             {peer + "  router-id: 2001:db8::1\n", `Error: line 5: peers[0].router-id: "2001:db8::1" is not an IPv4 address, which a router ID looks like: write for instance 192.0.2.1`},
	"password a list":               {peer + "  password: [s3cr3t]\n", "Error: line 5: peers[0].password: is a list: write a text, in quotes"},
	"password binary":               {peer + "  password: !!binary czNjcjN0\n", "Error: line 5: peers[0].password: is marked as !!binary: write a text, in quotes"},
	"password too long":             {peer + "  password: s3cr3t" + strings.Repeat("x", 80) + "\n", "Error: line 5: peers[0].password: is longer than 80 bytes, which TCP MD5 does not take: agree on a shorter one with the peer"},
	"password without blank":        {peer + "  {password:s3cr3t}\n", "Error: line 5: the text is not valid YAML: could not find expected ':'"},
	"password in braces":            {"peers:\n- {my-asn: 1, peer-asn: 2, peer-address: 192.0.2.1, password:s3cr3t}\n", "Error: line 2: peers[0].password…: is not a key that is known here: remove it"},
	"password misspelt":             {peer + "  pasword: s3cr3t\n", "Error: line 5: peers[0].pasword: is not a key that is known here: did you mean password?"},
	"bfd-profile unknown":           {peer + "  bfd-profile: fast\n", `Error: line 5: peers[0].bfd-profile: "fast" is not one of bfd-profiles: add it there, or remove the key`},
	"bfd-profile misspelt":          {"bfd-profiles:\n- name: production\n" + peer + "  bfd-profile: prodution\n", `Error: line 7: peers[0].bfd-profile: "prodution" is not one of bfd-profiles: did you mean production?`},
	"ebgp-multihop":                 {peer + "  ebgp-multihop: 1\n", `Error: line 5: peers[0].ebgp-multihop: "1" is neither true nor false: write one of the two`},
	"ebgp-multihop in quotes":       {peer + "  ebgp-multihop: \"true\"\n", "Error: line 5: peers[0].ebgp-multihop: is a text, not true or false: write it without quotes"},
	"ebgp-multihop a map":           {peer + "  ebgp-multihop: {}\n", "Error: line 5: peers[0].ebgp-multihop: is a mapping (key: value): write true or false"},
	"ebgp-multihop: on":             {peer + "  ebgp-multihop: on\n", ""},
	"ebgp-multihop of iBGP":         {with(peer, "64513", "64512") + "  ebgp-multihop: true\n", "Error: line 5: peers[0].ebgp-multihop: "},
	"the same peer twice":           {peer + strings.TrimPrefix(peer, "peers:\n") + "  password: other\n", "Error: line 5: peers[1]: is the same peer as peers[0] (line 2): remove one of them"},
	"the same peer for other nodes": {peer + "  node-selectors:\n  - match-labels: {rack: a}\n" + strings.TrimPrefix(peer, "peers:\n") + "  node-selectors:\n  - match-labels: {rack: b}\n", ""},
	"node-selectors a map":          {peer + "  node-selectors: {match-labels: {rack: a}}\n", "Error: line 5: peers[0].node-selectors: is a mapping (key: value), not a list: write - before each entry"},
	"an unknown selector":           {peer + "  node-selectors:\n  - matchLabels: {rack: a}\n", "Error: line 6: peers[0].node-selectors[0].matchLabels: is not a key that is known here: did you mean match-labels?"},
	"a label of no text":            {peer + "  node-selectors:\n  - match-labels: {rack: [a]}\n", "Error: line 6: peers[0].node-selectors[0].match-labels.rack: is a list: write the value of the label"},
	"a label of a bad value":        {peer + "  node-selectors:\n  - match-labels: {rack: 'a b'}\n", "Error: line 6: peers[0].node-selectors[0].match-labels: "},
	"an expression, no key":         {peer + "  node-selectors:\n  - match-expressions:\n    - operator: Exists\n", "Error: line 7: peers[0].node-selectors[0].match-expressions[0].key: is missing: write the key of a label of nodes"},
	"an expression, no op":          {peer + "  node-selectors:\n  - match-expressions:\n    - key: rack\n", "Error: line 7: peers[0].node-selectors[0].match-expressions[0].operator: is missing: write In, NotIn, Exists or DoesNotExist"},
	"an unknown operator":           {peer + "  node-selectors:\n  - match-expressions:\n    - key: rack\n      operator: Like\n", `Error: line 8: peers[0].node-selectors[0].match-expressions[0].operator: "Like" is not an operator: write In, NotIn, Exists or DoesNotExist`},
	"In without values":             {peer + "  node-selectors:\n  - match-expressions:\n    - key: rack\n      operator: In\n", "Error: line 7: peers[0].node-selectors[0].match-expressions[0].values: "},
	"Exists with values":            {peer + "  node-selectors:\n  - match-expressions:\n    - key: rack\n      operator: Exists\n      values: [a]\n", "Error: line 9: peers[0].node-selectors[0].match-expressions[0].values: "},
	"an empty expression":           {peer + "  node-selectors:\n  - match-expressions:\n    -\n", "Error: line 7: peers[0].node-selectors[0].match-expressions[0]: is empty: remove the dash, or write the entry"},

	// Pools.
	"name missing":               {without(pool, "name: a\n  "), "Error: line 2: address-pools[0].name: is missing: write the name by which Services find the pool"},
	"name empty":                 {with(pool, "name: a", `name: ""`), "Error: line 2: address-pools[0].name: is empty: write a name"},
	"name a list":                {with(pool, "name: a", "name: [a]"), "Error: line 2: address-pools[0].name: is a list: write a name"},
	"name a number":              {with(pool, "name: a", "name: 1"), ""},
	"name twice":                 {pool + with(without(pool, "address-pools:\n"), "192.0.2.0", "198.51.100.0"), `Error: line 6: address-pools[1].name: "a" is the name of address-pools[0] already (line 2): give it another one`},
	"protocol missing":           {without(pool, "  protocol: layer2\n"), "Error: line 2: address-pools[0].protocol: is missing: write layer2, or bgp to announce the addresses to routers"},
	"protocol unknown":           {with(pool, "layer2", "rip"), `Error: line 3: address-pools[0].protocol: "rip" is not a protocol: write layer2, or bgp to announce the addresses to routers`},
	"protocol arp":               {with(pool, "layer2", "arp"), `Warning: line 3: address-pools[0].protocol: "arp" is an old name of layer2 and used as such, for ARP and NDP both: write layer2`},
	"arp-network":                {pool + "  arp-network: 192.0.2.0/24\n", "Warning: line 6: address-pools[0].arp-network: is not needed any more and has no effect: remove it"},
	"addresses missing":          {without(pool, "  addresses:\n  - 192.0.2.0/24\n"), "Error: line 2: address-pools[0].addresses: is missing: write a list, for instance - 192.0.2.0/24 or - 192.0.2.10-192.0.2.20"},
	"addresses empty":            {with(pool, "\n  - 192.0.2.0/24", " []"), "Error: line 4: address-pools[0].addresses: is empty: write a list, for instance - 192.0.2.0/24 or - 192.0.2.10-192.0.2.20"},
	"addresses a text":           {with(pool, "\n  - ", " "), "Error: line 4: address-pools[0].addresses: is a single value, not a list: write a list, for instance - 192.0.2.0/24 or - 192.0.2.10-192.0.2.20"},
	"cidr":                       {with(pool, "addresses", "cidr"), ""},
	"cidr beside addresses":      {pool + "  cidr: [198.51.100.0/24]\n", "Error: line 6: address-pools[0].cidr: is the old name of addresses, which is there too: move its entries there"},
	"an address that is nothing": {pool + "  -\n", "Error: line 6: address-pools[0].addresses[1]: is empty: remove the dash, or write the entry"},
	"an address alone":           {pool + "  - 198.51.100.1\n", `Error: line 6: address-pools[0].addresses[1]: "198.51.100.1" is a single address: write 198.51.100.1/32`},
	"a range swapped":            {pool + "  - 198.51.100.9-198.51.100.1\n", `Error: line 6: address-pools[0].addresses[1]: "198.51.100.9-198.51.100.1" has its ends swapped: write 198.51.100.1-198.51.100.9`},
	"a range of both families":   {pool + "  - 198.51.100.9-2001:db8::1\n", `Error: line 6: address-pools[0].addresses[1]: "198.51.100.9-2001:db8::1" mixes IPv4 and IPv6: write one range for each family`},
	"two overlap in a pool":      {pool + "  - 192.0.2.7/32\n", "Error: line 6: address-pools[0].addresses[1]: "},
	"two pools overlap":          {pool + with(with(without(pool, "address-pools:\n"), "name: a", "name: 0"), "192.0.2.0/24", "192.0.2.128/25"), "Error: line 9: address-pools[1].addresses[0]: "},
	"two pools overlap, one of them named otherwise": {pool + with(with(without(pool, "address-pools:\n"), "name: a", "name: A_B"), "192.0.2.0/24", "192.0.2.128/25"), "Error: line 9: address-pools[1].addresses[0]: "},
	"loopback":               {with(pool, "192.0.2.0/24", "127.0.0.0/24"), "Error: line 5: address-pools[0].addresses[0]: "},
	"auto-assign":            {pool + "  auto-assign: maybe\n", `Error: line 6: address-pools[0].auto-assign: "maybe" is neither true nor false: write one of the two`},
	"avoid-buggy-ips":        {pool + "  avoid-buggy-ips: 0\n", `Error: line 6: address-pools[0].avoid-buggy-ips: "0" is neither true nor false: write one of the two`},
	"a name with buggy ips":  {with(pool, "name: a", "name: A_B") + "  avoid-buggy-ips: true\n", `Warning: line 2: address-pools[0].name: "A_B" cannot be the name of an IPAddressPool, and nothing else has avoid-buggy-ips: the pool is named a-b-6c1908f9, and Services that ask for it by name must ask for that`},
	"advertisements, layer2": {pool + "  bgp-advertisements:\n  - localpref: 1\n", "Error: line 6: address-pools[0].bgp-advertisements: belongs to protocol bgp: remove it, or write protocol: bgp"},
	"no advertisements":      {pool + "  bgp-advertisements: []\n", ""},

	// Advertisements.
	"an advertisement of defaults": {bgp + "\n", ""},
	"aggregation-length 33":        {bgp + "aggregation-length: 33\n", `Error: line 7: address-pools[0].bgp-advertisements[0].aggregation-length: "33" is not a whole number from 1 to 32: write for instance 32`},
	"aggregation-length 0":         {bgp + "aggregation-length: 0\n", `Error: line 7: address-pools[0].bgp-advertisements[0].aggregation-length: "0" is not a whole number from 1 to 32: write for instance 32`},
	"aggregation-length-v6 129":    {bgp + "aggregation-length-v6: 129\n", `Error: line 7: address-pools[0].bgp-advertisements[0].aggregation-length-v6: "129" is not a whole number from 1 to 128: write for instance 128`},
	"aggregation over the pool":    {bgp + "aggregation-length: 23\n", "Error: line 7: address-pools[0].bgp-advertisements[0].aggregation-length: "},
	"localpref":                    {bgp + "localpref: -1\n", `Error: line 7: address-pools[0].bgp-advertisements[0].localpref: "-1" is not a whole number from 0 to 4294967295: write for instance 100`},
	"local-pref":                   {bgp + "local-pref: 100\n", "Error: line 7: address-pools[0].bgp-advertisements[0].local-pref: is not a key that is known here: did you mean localpref?"},
	"two localprefs":               {bgp + "localpref: 100\n  - localpref: 200\n", "Error: line 8: address-pools[0].bgp-advertisements[1].localpref: "},
	"communities a text":           {bgp + "communities: 1:2\n", "Error: line 7: address-pools[0].bgp-advertisements[0].communities: is a single value, not a list: write for instance - 64512:100"},
	"an unknown community":         {bgp + "communities: [none]\n", `Error: line 7: address-pools[0].bgp-advertisements[0].communities[0]: "none" is not one of bgp-communities, and is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)`},
	"an unknown alias":             {"bgp-communities:\n  no-export: 65535:65281\n" + bgp + "communities: [no_exprt]\n", `Error: line 9: address-pools[0].bgp-advertisements[0].communities[0]: "no_exprt" is not one of bgp-communities: did you mean no-export?`},
	"a community of 17 bits":       {bgp + "communities: [1:65536]\n", `Error: line 7: address-pools[0].bgp-advertisements[0].communities[0]: "1:65536" is not one of bgp-communities, and has the part "65536", which is not a number from 0 to 65535: write for instance 64512:100`},
	"a community twice":            {bgp + "communities: [1:2, 1:2]\n", ""},
	"an alias and its value":       {"bgp-communities: {a: '1:2'}\n" + bgp + "communities: [a, 1:2]\n", ""},

	// bgp-communities.
	"an alias of nothing":                     {"bgp-communities:\n  a:\n", "Error: line 2: bgp-communities.a: is missing: write the community that it stands for, for instance 64512:100"},
	"an alias of a list":                      {"bgp-communities:\n  a: [1:2]\n", "Error: line 2: bgp-communities.a: is a list: write a community, for instance 64512:100"},
	"an alias of no community":                {"bgp-communities:\n  a: b\n", `Error: line 2: bgp-communities.a: "b" is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)`},
	"bgp-communities as a list":               {"bgp-communities:\n- a\n", "Error: line 1: bgp-communities: is a list, not a mapping: write for instance no-export: 65535:65281"},
	"a wrong alias that is used is one error": {"bgp-communities:\n  a: b\n" + bgp + "communities: [a]\n", `Error: line 2: bgp-communities.a: "b" is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)`},

	// bfd-profiles.
	"a profile without a name": {"bfd-profiles:\n- passive-mode: true\n", "Error: line 2: bfd-profiles[0].name: is missing: write the name by which peers find the profile"},
	"a profile twice":          {"bfd-profiles:\n- name: a\n- name: a\n", `Error: line 3: bfd-profiles[1].name: "a" is the name of bfd-profiles[0] already (line 2): give it another one`},
	"receive-interval":         {"bfd-profiles:\n- name: a\n  receive-interval: 9\n", `Error: line 3: bfd-profiles[0].receive-interval: "9" is not a whole number from 10 to 60000: write for instance 300`},
	"transmit-interval":        {"bfd-profiles:\n- name: a\n  transmit-interval: 60001\n", `Error: line 3: bfd-profiles[0].transmit-interval: "60001" is not a whole number from 10 to 60000: write for instance 300`},
	"detect-multiplier":        {"bfd-profiles:\n- name: a\n  detect-multiplier: 1\n", `Error: line 3: bfd-profiles[0].detect-multiplier: "1" is not a whole number from 2 to 255: write for instance 3`},
	"echo-interval":            {"bfd-profiles:\n- name: a\n  echo-interval: 50ms\n", `Error: line 3: bfd-profiles[0].echo-interval: "50ms" is not a whole number from 10 to 60000: write for instance 50`},
	"minimum-ttl":              {"bfd-profiles:\n- name: a\n  minimum-ttl: 255\n", `Error: line 3: bfd-profiles[0].minimum-ttl: "255" is not a whole number from 1 to 254: write for instance 254`},
	"echo-mode on":             {"bfd-profiles:\n- name: a\n  echo-mode: on\n", "Warning: line 3: bfd-profiles[0].echo-mode: is not supported, so sessions run without echo packets: remove it, and for fast detection write transmit-interval: 50 and receive-interval: 50"},
	"echo-mode":                {"bfd-profiles:\n- name: a\n  echo-mode: 2\n", `Error: line 3: bfd-profiles[0].echo-mode: "2" is neither true nor false: write one of the two`},
	"passive-mode":             {"bfd-profiles:\n- name: a\n  passive-mode: []\n", "Error: line 3: bfd-profiles[0].passive-mode: is a list: write true or false"},

	"all at once": {"peers:\n- my-asn: 0\n  foo: bar\naddress-pools:\n- name: a\n  protocol: x\n  addresses: [1.2.3.4, 192.0.2.0/24]\n- name: b\n  protocol: bgp\n  addresses: [192.0.2.1/32]\n",
		`Error: line 2: peers[0].my-asn: "0" is not a whole number from 1 to 4294967295: write for instance 64512
Error: line 2: peers[0].peer-asn: is missing: write the AS number of the peer, for instance 64513
Error: line 2: peers[0].peer-address: is missing: write the IP address of the peer
Error: line 3: peers[0].foo: is not a key that is known here: remove it
Error: line 6: address-pools[0].protocol: "x" is not a protocol: write layer2, or bgp to announce the addresses to routers
Error: line 7: address-pools[0].addresses[0]: "1.2.3.4" is a single address: write 1.2.3.4/32
Error: line 10: address-pools[1].addresses[0]: `},
}

func TestProblems(t *testing.T) {
	for name, tc := range problems {
		t.Run(name, func(t *testing.T) {
			_, found := legacy.Read([]byte(tc.text), legacy.Options{Namespace: "metallb-system"})
			var got []string
			for _, p := range found {
				got = append(got, fmt.Sprintf("%s: %s", p.Severity, p))
			}
			want := strings.Split(tc.want, "\n")
			if tc.want == "" {
				want = nil
			}
			// What internal/config says stands after the place; its words are its own.
			for i, w := range want {
				if i < len(got) && strings.HasSuffix(w, ": ") && strings.HasPrefix(got[i], w) {
					t.Log(got[i])
					got[i] = w
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("of\n%s\n(-want +got):\n%s", tc.text, diff)
			}
			if text := strings.Join(got, "\n"); strings.Contains(text, "s3cr3t") {
				t.Errorf("shows the password: %s", text)
			}
		})
	}
}

// A short text that stands for more than memory holds is refused at once.
func TestAliasBomb(t *testing.T) {
	communities := "&c [" + strings.Repeat("1:2,", 2000) + "]"
	advertisement := "&a {communities: " + communities + "}"
	text := "address-pools:\n- &p\n  name: a\n  protocol: bgp\n  addresses: [192.0.2.0/24]\n  bgp-advertisements: [" + advertisement + strings.Repeat(", *a", 2000) + "]\n" + strings.Repeat("- *p\n", 2000)
	cfg, problems := legacy.Parse([]byte(text))
	if len(problems) != 1 || !strings.HasSuffix(problems[0].Message, "is one of more than 10000 values that come from aliases (*name): write them out") {
		t.Errorf("%d problems, the first: %v", len(problems), problems[0])
	}
	if len(cfg.Pools) > 0 {
		t.Error("some of it is used")
	}
}

// Whatever fits in a ConfigMap is read in bounded time.
func TestLargeTexts(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, format, i, i/256%256, i%256)
		}
		return b.String()
	}
	const size = 1 << 18 // less where Compile compares each with each
	for name, text := range map[string]string{
		"brackets":       strings.Repeat("[", size),
		"broken at once": "x: [\n" + strings.Repeat("a: b\n", 20000),
		"broken late":    strings.Repeat("- a\n", 30000) + "x",
		"dashes":         "peers:\n" + strings.Repeat("-\n", size/2),
		"peers":          "peers:\n" + many(size/16, "- {my-asn: 1, peer-asn: %d, peer-address: 10.1.%d.%d}\n"),
		"one peer":       "peers:\n" + strings.Repeat("- {my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1}\n", size/52),
		"pools":          "address-pools:\n" + many(size, "- {name: p%d, protocol: bgp, addresses: [10.%d.%d.0/24]}\n"),
		"bad names":      "address-pools:\n" + many(size, "- {name: P_%d, protocol: layer2, addresses: [10.%d.%d.0/24]}\n"),
		"aliases":        "bgp-communities:\n" + many(size/2, "  a%d: %d:%d\n") + "address-pools:\n- name: a\n  protocol: bgp\n  addresses: [10.0.0.0/8]\n  bgp-advertisements:\n  - communities:\n" + many(size/2, "    - a%d%.0s%.0s\n"),
		"unknown keys":   "address-pools:\n- name: a\n" + many(size, "  adresse%d-%d-%d:\n"),
		"values":         "peers:\n- my-asn: 1\n  peer-asn: 2\n  peer-address: 10.0.0.1\n  node-selectors:\n  - match-expressions:\n    - key: a\n      operator: In\n      values:\n" + many(size, "      - v%d-%d-%d\n"),
		"selectors":      "peers:\n- my-asn: 1\n  peer-asn: 2\n  peer-address: 10.0.0.1\n  node-selectors:\n" + many(size/16, "  - match-labels: {a%d-%d: v%d}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			legacy.Recognise([]byte(text))
			_, problems := legacy.Read([]byte(text), legacy.Options{})
			t.Log(time.Since(start), len(problems))
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	for text, want := range map[string]bool{
		"":                            false,
		"{}":                          false,
		"- peers\n":                   false,
		"server: {peers: 1}\n":        false,
		"users: []\n":                 false,
		"\xff":                        false,
		": no yaml":                   false,
		"a: [\n":                      false,
		"peers:\n":                    true,
		"address-pools: []\n":         true,
		"bgp-communities: {}\n":       true,
		"bfd-profiles: x\n":           true,
		"peer-autodiscovery:\n":       true,
		"foo: 1\npeers: []\n":         true,
		"adddress-pools: []\n":        true,
		"addressPools: []\n":          true,
		"address-pools: [\n":          true,
		"x: 1\n\tpeers: 2\npeers: []": true,
		"{\"address-pools\": [":       true,
		"address-pools-of-mine: {}":   false,
		"peer: {}\n":                  false,
		"# address-pools:\nserver: x": false,
	} {
		if got := legacy.Recognise([]byte(text)); got != want {
			t.Errorf("Recognise(%q) = %v", text, got)
		}
	}
}

// Names depend on nothing but the entry itself.
func TestNamesAreStable(t *testing.T) {
	names := func(text string) map[string]bool {
		res, problems := legacy.Read([]byte(text), legacy.Options{})
		if problems.Failed() {
			t.Fatal(problems)
		}
		out := map[string]bool{}
		for _, o := range res.Objects() {
			key := o.GetObjectKind().GroupVersionKind().Kind + "/" + o.GetName()
			if out[key] {
				t.Errorf("%s is there twice", key)
			}
			out[key] = true
		}
		return out
	}
	one := func(address, pool, rack string) (string, string) {
		return "- {my-asn: 1, peer-asn: 2, peer-address: " + address + ", password: x, node-selectors: [{match-labels: {rack: " + rack + "}}]}\n",
			"- {name: " + pool + ", protocol: bgp, addresses: [10.0." + rack + ".0/24], bgp-advertisements: [{}, {aggregation-length: 24}]}\n"
	}
	var peers, pools []string
	for i, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2", "'2001:db8::'", "'2001:db8:0:0:0:0:0:1'"} {
		peer, pool := one(a, fmt.Sprintf("Pool_%d", i), fmt.Sprint(i))
		peers, pools = append(peers, peer), append(pools, pool)
	}
	whole := func(skip int) string {
		text := "peers:\n"
		for i, p := range peers {
			if i != skip {
				text += p
			}
		}
		text += "address-pools:\n"
		for i, p := range pools {
			if i != skip {
				text += p
			}
		}
		return text
	}
	all := names(whole(-1))
	if len(all) != 5*3 {
		t.Errorf("%d objects: %v", len(all), all)
	}
	for skip := range peers {
		for name := range names(whole(skip)) {
			// Only where the first of two peers of one address goes does the other get its name.
			if !all[name] {
				t.Errorf("without %d there is %s", skip, name)
			}
		}
	}
}
