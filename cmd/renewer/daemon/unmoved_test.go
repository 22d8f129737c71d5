package daemon

import (
	"context"
	"slices"
	"strings"
	"testing"

	"renewer/renewer"
)

// plan is the plan of a command without a daemon.
func (h *house) plan() (view renewer.PlanView) {
	h.t.Helper()
	h.command(func(a *App) {
		var err error
		view, err = a.Plan(context.Background(), renewer.PlanRequest{})
		must(h.t, err)
	})
	return view
}

// A plan says which moved: takes nothing over. One that is done is no news.
func TestAPlanSaysWhichMoveHasNoEffect(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"one certificate": "", "per host": ", per_host: true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("old", "A", more))
			h.pass()
			warns := func(want string) {
				t.Helper()
				if got := h.plan().Warnings; len(got) != 1 || !strings.Contains(got[0], want) {
					t.Errorf("warnings %q, want %q", got, want)
				}
			}
			quiet := func() {
				t.Helper()
				if got := h.plan().Warnings; len(got) > 0 {
					t.Errorf("warnings %q", got)
				}
			}
			quiet()
			h.write(entry("web", "B", more+", moved: {from: oldd}"))
			warns("nothing is called oldd in the inventory")
			h.write(entry("web", "B", more+", moved: {from: old}"))
			quiet()
			h.write(entry("web", "B", more+", moved: {from: oldd}"))
			h.pass()
			h.write(entry("web", "B", more+", moved: {from: old}"))
			warns("it has a state of its own; old")
		})
	}
	t.Run("a move that is done", func(t *testing.T) {
		t.Parallel()
		h := newHouse(t, entry("old", "A", ""))
		h.pass()
		h.write(entry("web", "B", ", moved: {from: old}"))
		h.pass()
		if got := h.plan().Warnings; len(got) > 0 {
			t.Errorf("warnings %q", got)
		}
	})
}

// A plan does not call a directory unused that another entry places its files in.
func TestAPlanDoesNotCallAnOccupiedDirectoryUnused(t *testing.T) {
	t.Parallel()
	const unused = "no service should read it any more"
	h := newHouse(t, entry("web", "A", "")+entry("api", "B", ""))
	h.pass()
	h.write(entry("web", "B", "") + entry("api", "C", ""))
	for _, s := range h.plan().Steps {
		if want := s.Certificate == "web"; s.Action == "push" && strings.Contains(s.Reason, unused) != want { // B is web's now
			t.Errorf("%s: %s", s.Certificate, s.Reason)
		}
	}
}

// What is forgotten is not among those that may refuse it.
func TestWhatIsForgottenDoesNotAcceptItself(t *testing.T) {
	t.Parallel()
	h := newHouse(t, entry("old", "A", "")+entry("web", "B", ""))
	h.pass()
	h.write(entry("web", "B", ""))
	h.pass()
	h.command(func(a *App) {
		found, err := a.Forget(context.Background(), renewer.ForgetRequest{Name: "old", Look: true})
		must(t, err)
		if len(found) != 1 || !slices.Equal(found[0].Accepted, []string{"web@here"}) {
			t.Errorf("%+v", found)
		}
	})
}
