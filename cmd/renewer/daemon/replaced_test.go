package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"renewer/renewer"
)

// A certificate whose files another one replaced is no orphan, and a change of the CA
// does not wait for it. As long as one of its files is in place, it is and does.
func TestACertificateWhoseFilesWereReplacedIsNoOrphan(t *testing.T) {
	t.Parallel()
	const mode = `, modes: {key: "0440"}`
	for name, x := range map[string]struct {
		successor string
		ends      bool
	}{
		"the same files with another mode": {entry("web", "A", mode), true},
		"another key file":                 {entry("web", "A", mode+", files: {key: web.key}"), false},
		"another directory":                {entry("web", "B", mode), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("old", "A", ""))
			h.pass()
			h.write(x.successor)
			h.pass()
			if bad := h.differs("web"); bad != nil {
				t.Errorf("verify: %q", bad)
			}
			var orphans []string
			for _, row := range h.plan().Orphans {
				orphans = append(orphans, row.Name)
			}
			if got := slices.Contains(orphans, "old"); got == x.ends {
				t.Errorf("orphans: %q", orphans)
			}
			var trusted string
			h.command(func(a *App) {
				seen, err := a.Trust(t.Context(), renewer.TrustRequest{})
				must(t, err)
				trusted = fmt.Sprint(seen)
			})
			if got := strings.Contains(trusted, "old@here"); got == x.ends {
				t.Errorf("who accepts whom: %s", trusted)
			}
		})
	}
}
