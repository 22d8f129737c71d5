package daemon

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
)

// has checks that a directory has the whole pair of a certificate, and what
// renewer says of it.
func (h *house) has(name, dir string) {
	h.t.Helper()
	if bad := h.differs(name); bad != nil {
		h.t.Errorf("verify %s: %q", name, bad)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(h.dir, dir, "tls.crt"), filepath.Join(h.dir, dir, "tls.key"))
	must(h.t, err)
	if got := pair.Leaf.Subject.CommonName; got != name {
		h.t.Errorf("%s holds the certificate of %s, not of %s", dir, got, name)
	}
}

func entry(name, dir, more string) string {
	return strings.NewReplacer("NAME", name, "WHERE", dir, "MORE", more).Replace(
		"  - {name: NAME, profile: files, issuer: ca, hosts: [here], dir: DIR/WHERE, common_name: NAME, lifetime: 1h, probe: fileMORE}\n")
}

// A directory that is moved and moved back is placed each time, with a restart
// budget, which wants to know the way back, and without.
func TestADirectoryThatIsMovedBackIsPlaced(t *testing.T) {
	t.Parallel()
	const budget = ", activate: {command: [/bin/true], budget: 25s}"
	for name, more := range map[string]string{"without a budget": "", "with an activation": ", activate: {command: [/bin/true]}", "with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more))
			h.pass()
			for _, dir := range []string{"B", "A", "B", "A"} {
				h.write(entry("web", dir, more))
				h.pass()
				h.has("web", dir)
				h.valid("web", 1)
			}
			h.renew("web")
			h.has("web", "A")
			h.write(entry("web", "C", more))
			h.pass()
			h.valid("web", 2)
			must(t, h.rollback("web")) // its key is in directories of before alone
			h.has("web", "C")
			h.valid("web", 1)
		})
	}
	for name, more := range map[string]string{"files that are called otherwise for a while": "", "the same with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more))
			h.pass()
			h.write(entry("web", "A", more+", files: {ca: root.pem}"))
			h.pass()
			h.write(entry("web", "A", more))
			h.pass()
			h.has("web", "A")
		})
	}
	for name, more := range map[string]string{"to where another one was": "", "to where another one was with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more)+entry("api", "B", more))
			h.pass()
			for _, dirs := range [][2]string{{"B", "A"}, {"A", "B"}, {"C", "A"}, {"B", "C"}} {
				h.write(entry("web", dirs[0], more) + entry("api", dirs[1], more))
				h.pass()
				h.has("web", dirs[0])
				h.has("api", dirs[1])
			}
		})
	}
}
