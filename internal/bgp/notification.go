package bgp

import "fmt"

// Notification says why one end closed the connection (RFC 4271, section 4.5).
type Notification struct {
	Code, Subcode uint8
}

// Codes of notifications that something is made to depend on.
const (
	// Cease ends a session without an error (RFC 4486).
	Cease = 6
	// CeaseAdministrativeReset is the subcode of one that may begin anew at once.
	CeaseAdministrativeReset = 4
)

var notifications = map[uint8]struct {
	name     string
	subcodes map[uint8]string
}{
	1: {"message header error", map[uint8]string{1: "connection not synchronized", 2: "bad message length", 3: "bad message type"}},
	2: {"OPEN message error", map[uint8]string{
		1: "unsupported version number", 2: "bad peer AS", 3: "bad BGP identifier", 4: "unsupported optional parameter",
		5: "authentication failure", 6: "unacceptable hold time", 7: "unsupported capability", 11: "role mismatch",
	}},
	3: {"UPDATE message error", map[uint8]string{
		1: "malformed attribute list", 2: "unrecognized well-known attribute", 3: "missing well-known attribute", 4: "attribute flags error",
		5: "attribute length error", 6: "invalid ORIGIN attribute", 8: "invalid NEXT_HOP attribute", 9: "optional attribute error",
		10: "invalid network field", 11: "malformed AS_PATH",
	}},
	4: {"hold timer expired", nil},
	5: {"finite state machine error", map[uint8]string{
		1: "unexpected message in OpenSent", 2: "unexpected message in OpenConfirm", 3: "unexpected message in Established",
	}},
	Cease: {"cease", map[uint8]string{
		1: "maximum number of prefixes reached", 2: "administrative shutdown", 3: "peer de-configured", 4: "administrative reset",
		5: "connection rejected", 6: "other configuration change", 7: "connection collision resolution", 8: "out of resources", 9: "hard reset", 10: "BFD down",
	}},
	7: {"ROUTE-REFRESH message error", map[uint8]string{1: "invalid message length"}},
}

// String is the notification in the words of the RFCs (4271 section 6, 4486, 7313, 8538, 9234, 9384).
func (n Notification) String() string {
	code, ok := notifications[n.Code]
	switch {
	case !ok:
		return fmt.Sprintf("notification %d/%d", n.Code, n.Subcode)
	case n.Subcode == 0:
		return code.name
	case code.subcodes[n.Subcode] == "":
		return fmt.Sprintf("%s, subcode %d", code.name, n.Subcode)
	}
	return code.subcodes[n.Subcode] + " (" + code.name + ")"
}
