package members

import (
	"encoding/json"
)

// Note is what the speaker of one node tells that of another. What it says is nothing to this package.
type Note struct {
	// From is the node that tells it.
	From string
	Text json.RawMessage
}

// letter carries a note. It has no field that a word has: a release that knows no notes takes it for the word of nobody.
type letter struct {
	From string          `json:"from"`
	Note json.RawMessage `json:"note"`
}

// mostNotes bounds the notes that nobody has read yet. They are for the moment: of too many the newest are dropped.
const mostNotes = 1000

// Tell sends a note to all members of a node. It may be lost.
func (m *Members) Tell(node string, text json.RawMessage) error {
	b, err := json.Marshal(letter{From: m.config.Node, Note: text})
	if err != nil {
		return err
	}
	for _, to := range m.others(node) {
		if sendErr := m.list.SendToAddress(to, b); sendErr != nil {
			err = sendErr
		}
	}
	return err
}

// takeNote takes a message if it is a note.
func (m *Members) takeNote(text []byte) {
	var l letter
	if json.Unmarshal(text, &l) != nil || l.From == "" || len(l.Note) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.notes) < mostNotes {
		m.notes = append(m.notes, Note{From: l.From, Text: l.Note})
		signal(m.noted)
	}
}

// Noted signals that Notes has something.
func (m *Members) Noted() <-chan struct{} { return m.noted }

// Notes returns the notes that have come since it was called last.
func (m *Members) Notes() []Note {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.notes
	m.notes = nil
	return out
}
