package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A room is a directory of this module and everything below it.
type room struct {
	path string
	// may lists the rooms that it may import besides itself. Test files may
	// import any room.
	may []string
	// standardOnly: nothing from outside but the standard library.
	standardOnly bool
}

const (
	domain = "renewer"
	leaves = "internal"
	// catalogue is the data of problems, below the domain itself.
	catalogue = "renewer/problems"
)

// below is what a part may import: never another part.
var below = []string{domain, catalogue, "renewer/pki", leaves}

// keptRoots is what issuers share.
const keptRoots = "issuers/keptroots"

// rooms is the direction of imports of ARCHITECTURE.md: cmd → daemon → the
// parts beside each other → domain → standard library. The longest path wins.
var rooms = []room{
	{path: "cmd", may: []string{"cmd/renewer/daemon", "renewer/engine", "configs", "issuers/local", "inventory", "renewer/server", "renewer/forecast", domain, "renewer/pki", leaves}},
	{path: "e2e", may: []string{leaves}},
	{path: "examples", may: []string{"configs", "renewer/server", domain, leaves}},
	{path: "cmd/renewer/daemon", may: []string{
		"renewer/engine", "renewer/forecast", "renewer/rotation", "renewer/hosts", "renewer/unithost", "renewer/dockerhost", "renewer/daguhost", "renewer/probes", "renewer/server",
		"configs", "inventory", keptRoots, "issuers/acme", "issuers/command", "issuers/files", "issuers/local", "issuers/stepca", "issuers/vault", "notify", domain, "renewer/pki", leaves,
	}},

	{path: "configs", may: below},
	{path: "inventory", may: below},
	{path: "issuers/issuertest", may: append([]string{"renewer/engine"}, below...)},
	{path: keptRoots, may: below},
	{path: "issuers/acme", may: below},
	{path: "issuers/command", may: append([]string{keptRoots}, below...)},
	{path: "issuers/files", may: append([]string{keptRoots}, below...)},
	{path: "issuers/local", may: below},
	{path: "issuers/stepca", may: append([]string{keptRoots}, below...)},
	{path: "issuers/vault", may: append([]string{keptRoots}, below...)},
	{path: "notify", may: below},
	{path: "renewer/daguhost", may: below},
	{path: "renewer/dockerhost", may: below},
	{path: "renewer/engine", may: append([]string{"renewer/trust", "renewer/traffic"}, below...)},
	{path: "renewer/hosts", may: below},
	{path: "renewer/probes", may: below},
	{path: "renewer/unithost", may: below},
	{path: "renewer/server", may: append([]string{"docs/runbooks", "renewer/forecast"}, below...)},
	{path: "docs/runbooks", standardOnly: true},

	{path: "renewer/pki", may: []string{domain}, standardOnly: true},
	{path: "renewer/trust", may: []string{domain}, standardOnly: true},
	{path: "renewer/traffic", may: []string{domain}, standardOnly: true},
	{path: "renewer/forecast", may: []string{"renewer/traffic", "renewer/rotation", domain}, standardOnly: true},
	{path: "renewer/rotation", standardOnly: true},
	{path: leaves},
	// Test houses know the domain's words.
	{path: "internal/testdocker", may: below},
	{path: "internal/testfleet", may: append([]string{"renewer/forecast"}, below...)},
	{path: "internal/testacme", may: below},
	{path: "internal/teststepca", may: below},
	{path: domain, may: []string{catalogue}, standardOnly: true},
	{path: catalogue, standardOnly: true},
}

// exclusive names packages from outside that one room alone knows, in test
// files too.
var exclusive = map[string]string{
	"go.etcd.io/bbolt": "inventory",
}

func TestEveryPackageHasARoom(t *testing.T) {
	t.Parallel()
	packages := readTree(t)
	for _, p := range packages {
		if _, ok := roomOf(p.path); !ok {
			t.Errorf("%s stands in no room: add its room, and whom it may import, to the table in this file and to ARCHITECTURE.md", p.path)
		}
	}
	for _, want := range []string{domain, "renewer/engine", "internal/house"} {
		if !slices.ContainsFunc(packages, func(p pkg) bool { return p.path == want }) {
			t.Errorf("%s was not found: the tree was not read whole", want)
		}
	}
}

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	for _, fault := range faults(readTree(t)) {
		t.Error(fault)
	}
}

// TestFaults shows that the rules bite: one made-up import each.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to, want string
		test           bool
	}{
		{from: "renewer", to: "fmt"},
		{from: "renewer", to: "renewer/renewer/engine", want: "renewer imports renewer/engine"},
		{from: "renewer", to: "golang.org/x/sys/unix", want: "renewer imports golang.org/x/sys/unix"},
		{from: "renewer", to: "pgregory.net/rapid", test: true},
		{from: "renewer/engine", to: "renewer/renewer"},
		{from: "renewer/engine", to: "renewer/inventory", want: "renewer/engine imports inventory"},
		{from: "renewer/engine", to: "renewer/inventory", test: true},
		{from: "renewer/hosts", to: "renewer/renewer/hosts/ssh"},
		{from: "renewer/hosts", to: "renewer/renewer/probes", want: "renewer/hosts imports renewer/probes"},
		{from: "issuers/local", to: "renewer/issuers/vault", want: "issuers/local imports issuers/vault"},
		{from: "configs", to: "renewer/cmd/renewer/daemon", want: "configs imports cmd/renewer/daemon"},
		{from: "internal/secret", to: "renewer/inventory", want: "internal/secret imports inventory"},
		{from: "internal/secret", to: "renewer/renewer", want: "internal/secret imports renewer"},
		{from: "internal/secret", to: "renewer/internal/atomicfile"},
		{from: "internal/testfleet", to: "renewer/renewer"},
		{from: "cmd/renewer", to: "renewer/cmd/renewer/daemon"},
		{from: "inventory", to: "go.etcd.io/bbolt"},
		{from: "cmd/renewer/daemon", to: "go.etcd.io/bbolt", want: "cmd/renewer/daemon imports go.etcd.io/bbolt"},
		{from: "cmd/renewer/daemon", to: "go.etcd.io/bbolt", test: true, want: "cmd/renewer/daemon imports go.etcd.io/bbolt"},
	} {
		p := pkg{path: c.from}
		if c.test {
			p.testImports = []string{c.to}
		} else {
			p.imports = []string{c.to}
		}
		got := strings.Join(faults([]pkg{p}), "; ")
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s with %s (test file: %v): %q, want %q", c.from, c.to, c.test, got, c.want)
		}
	}
}

// faults returns one line for each import against the rules.
func faults(packages []pkg) (list []string) {
	for _, p := range packages {
		from, ok := roomOf(p.path)
		if !ok {
			continue // TestEveryPackageHasARoom says so
		}
		for _, path := range p.imports {
			if why := from.refuses(path); why != "" {
				list = append(list, fmt.Sprintf("%s imports %s: %s", p.path, short(path), why))
			}
		}
		for _, path := range append(slices.Clone(p.imports), p.testImports...) {
			if owner, ok := exclusive[path]; ok && owner != from.path {
				list = append(list, fmt.Sprintf("%s imports %s: only %s may know it", p.path, path, owner))
			}
		}
	}
	return list
}

// refuses says why the room may not import the path; empty if it may.
func (r room) refuses(path string) string {
	if !own(path) {
		if r.standardOnly && !standard(path) {
			return "the domain knows the standard library only"
		}
		return ""
	}
	to, ok := roomOf(short(path))
	switch {
	case ok && to.path == r.path, ok && slices.Contains(r.may, to.path):
		return ""
	case len(r.may) == 0:
		return "it may import none of ours"
	default:
		return "of ours it may import only " + strings.Join(r.may, ", ")
	}
}

// roomOf returns the room with the longest path that holds the package.
func roomOf(path string) (best room, ok bool) {
	for _, r := range rooms {
		if (path == r.path || strings.HasPrefix(path, r.path+"/")) && len(r.path) > len(best.path) {
			best, ok = r, true
		}
	}
	// The domain is one package; what stands below it has rooms of its own.
	if best.path == domain && path != domain {
		return room{}, false
	}
	return best, ok
}
