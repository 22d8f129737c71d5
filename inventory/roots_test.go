package inventory

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func TestRootsAreKeptOnce(t *testing.T) {
	t.Parallel()
	i := open(t)
	a, b := testpki.New(t).Root.Raw, testpki.New(t).Root.Raw
	commit(t, i, renewer.Change{Roots: [][]byte{a}}, renewer.Change{Roots: [][]byte{a, b}})
	commit(t, i, renewer.Change{Roots: [][]byte{b}, Remove: "x"})
	all, err := i.Roots()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{a, b}
	slices.SortFunc(all, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	equal(t, "roots", all, want)
	sound(t, i)
	if _, err := i.Commit(t.Context(), renewer.Change{Roots: [][]byte{a[1:]}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
