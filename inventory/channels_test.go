package inventory

import (
	"bytes"
	"slices"
	"testing"

	"renewer/renewer"
)

func TestEventsAfterAreTheOldest(t *testing.T) {
	t.Parallel()
	i := open(t)
	if seq, err := i.LastSeq(); seq != 0 || err != nil {
		t.Fatal(seq, err)
	}
	for range 5 {
		commit(t, i, renewer.Change{Events: []renewer.Event{{Type: renewer.EventDrifted, Certificate: "a"}}})
	}
	var seqs []uint64
	events, err := i.EventsAfter(2, 2)
	for _, e := range events {
		seqs = append(seqs, e.Seq)
	}
	if !slices.Equal(seqs, []uint64{3, 4}) || err != nil {
		t.Error(seqs, err)
	}
	if events, err := i.EventsAfter(5, 10); len(events) != 0 || err != nil {
		t.Error(events, err)
	}
	if seq, err := i.LastSeq(); seq != 5 || err != nil {
		t.Error(seq, err)
	}
}

func TestChannelStates(t *testing.T) {
	t.Parallel()
	i := open(t)
	if state, err := i.LoadChannel("ops"); state != nil || err != nil {
		t.Fatal(state, err)
	}
	for _, name := range []string{"ops", "mail"} {
		if err := i.SaveChannel(name, []byte("state of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	i = openAt(t, i.Path())
	if state, err := i.LoadChannel("ops"); !bytes.Equal(state, []byte("state of ops")) || err != nil {
		t.Error(state, err)
	}
	if err := i.SaveChannel("ops", nil); err != nil {
		t.Fatal(err)
	}
	if names, err := i.Channels(); !slices.Equal(names, []string{"mail"}) || err != nil {
		t.Error(names, err)
	}
	sound(t, i)
}
