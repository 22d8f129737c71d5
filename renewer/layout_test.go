package renewer

import (
	"io/fs"
	"testing"

	"pgregory.net/rapid"
)

// What inventories hold was made by package json.
func TestALayoutIsTheDigestOfItsJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.Custom(func(t *rapid.T) FileKind {
			return rapid.SampledFrom(append([]FileKind{"<>", "é"}, FileKinds...)).Draw(t, "kind")
		})
		p := Placement{
			Dir: rapid.String().Draw(t, "dir"), Owner: rapid.StringMatching("[a-z]*").Draw(t, "owner"), Group: rapid.StringMatching(`[ -~]*`).Draw(t, "group"),
			Files: rapid.MapOf(kind, rapid.String()).Draw(t, "files"), Modes: rapid.MapOf(kind, rapid.Custom(func(t *rapid.T) fs.FileMode { return fs.FileMode(rapid.Uint32().Draw(t, "mode")) })).Draw(t, "modes"),
		}
		if rapid.Bool().Draw(t, "without") {
			p.Files, p.Modes = nil, nil
		}
		want := digest(struct {
			Dir, Owner, Group string
			Files             map[FileKind]string
			Modes             any
		}{p.Dir, p.Owner, p.Group, p.Files, p.Modes})
		if got := p.Layout(); got != want {
			t.Fatalf("%s instead of %s", got, want)
		}
	})
}
