package notify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"
)

// saved is a state as the store keeps it. A field that is added later is empty
// in an older one; none changes its meaning.
type saved struct {
	Cursor       uint64         `json:"cursor"`
	Open         []savedProblem `json:"open,omitempty"`
	Over         []savedProblem `json:"over,omitempty"`
	Notes        []savedProblem `json:"notes,omitempty"`
	FirstNews    time.Time      `json:"first_news,omitzero"`
	LastNews     time.Time      `json:"last_news,omitzero"`
	Sent         []time.Time    `json:"sent,omitempty"`
	Outbox       *outgoing      `json:"outbox,omitempty"`
	LastSuccess  time.Time      `json:"last_success,omitzero"`
	FailingSince time.Time      `json:"failing_since,omitzero"`
	LastError    string         `json:"last_error,omitempty"`
	LastErrorAt  time.Time      `json:"last_error_at,omitzero"`
	Hint         string         `json:"hint,omitempty"`
}

type savedProblem struct {
	Problem
	News     bool      `json:"news,omitempty"`
	Told     bool      `json:"told,omitempty"`
	Worse    bool      `json:"worse,omitempty"`
	Doubtful time.Time `json:"doubtful,omitzero"`
}

func encode(s *state) ([]byte, error) {
	out := saved{
		Cursor: s.cursor, Over: pack(s.ended()), Notes: pack(s.notes), FirstNews: s.firstNews, LastNews: s.lastNews, Sent: s.sent, Outbox: s.outbox,
		LastSuccess: s.lastSuccess, FailingSince: s.failingSince, LastError: s.lastError, LastErrorAt: s.lastErrorAt, Hint: s.hint,
	}
	for _, t := range s.sorted() {
		out.Open = append(out.Open, pack([]Problem{*t})...)
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the state of a channel: %w", err)
	}
	return data, nil
}

func decode(data []byte) (*state, error) {
	var in saved
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("decode the state of a channel: %w", err)
	}
	s := newState(in.Cursor)
	for _, t := range unpack(in.Open) {
		s.add(&t)
	}
	for _, t := range unpack(in.Over) {
		s.over[t.key()] = t
	}
	s.notes = unpack(in.Notes)
	s.firstNews, s.lastNews, s.sent, s.outbox = in.FirstNews, in.LastNews, in.Sent, in.Outbox
	s.lastSuccess, s.lastError, s.lastErrorAt, s.hint = in.LastSuccess, in.LastError, in.LastErrorAt, in.Hint
	if s.failingSince = in.FailingSince; s.lastError != "" {
		s.failingSince = cmp.Or(in.FailingSince, in.LastErrorAt) // an older version kept the last failure only
	}
	return s, nil
}

func pack(list []Problem) (out []savedProblem) {
	for _, t := range list {
		out = append(out, savedProblem{t, t.News, t.Told, t.Worse, t.Doubtful})
	}
	return out
}

func unpack(list []savedProblem) (out []Problem) {
	for _, t := range list {
		t.Problem.News, t.Problem.Told, t.Problem.Worse, t.Problem.Doubtful = t.News, t.Told, t.Worse, t.Doubtful
		out = append(out, t.Problem)
	}
	return out
}
