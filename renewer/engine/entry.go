package engine

import "renewer/renewer"

// entry is one certificate as the loop holds it.
type entry struct {
	cert    renewer.Certificate
	rec     renewer.Record
	current *renewer.Generation
	rolling *renewer.Generation
}

func (en *entry) state() renewer.State {
	return renewer.State{Certificate: en.cert, Record: en.rec, Current: en.current, Rolling: en.rolling}
}

func entryOf(s renewer.State) *entry { return &entry{s.Certificate, s.Record, s.Current, s.Rolling} }

// open reports whether a rollout is under way.
func (en *entry) open() bool { return en.rec.Rollout != nil && !en.rec.Rollout.Phase.Over() }
