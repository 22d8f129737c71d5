package problems

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryRowIsWhole(t *testing.T) {
	t.Parallel()
	id, sentence := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`), regexp.MustCompile(`^\p{L}.*[^.]$`)
	seen := map[string]bool{}
	once := func(r Row, what string) {
		if seen[what] {
			t.Errorf("%s: %s is in the catalogue twice", r.ID, what)
		}
		seen[what] = true
	}
	for _, r := range All() {
		once(r, string(r.ID))
		if r.Alert() != "" {
			once(r, r.Alert())
		}
		for _, e := range r.Events {
			once(r, "event "+e)
			if got, ok := ByEvent(e); !ok || got.ID != r.ID {
				t.Errorf("event %s opens %s", e, got.ID)
			}
		}
		for _, check := range r.Checks {
			once(r, "check "+check)
			if got, ok := ByCheck(check); !ok || got.ID != r.ID {
				t.Errorf("check %s finds %s", check, got.ID)
			}
		}
		if got, ok := ByAlert(r.Alert()); r.Alert() != "" && (!ok || got.ID != r.ID) {
			t.Errorf("alert %s is of %s", r.Alert(), got.ID)
		}
		if !id.MatchString(string(r.ID)) || r.Severity != Critical && r.Severity != Warning || !strings.HasPrefix(r.Runbook, "Renewer") ||
			!sentence.MatchString(r.Meaning) || len(r.Commands) == 0 || r.Opens == "" || r.Closes == "" {
			t.Errorf("not whole: %+v", r)
		}
		for _, command := range r.Commands {
			if strings.Contains(command, "host check") {
				t.Errorf("%s: %q needs Docker on the host; renewer doctor does not", r.ID, command)
			}
		}
		if got := Of(r.ID); got.ID != r.ID {
			t.Errorf("Of(%s) is %s", r.ID, got.ID)
		}
	}
	if _, ok := ByAlert(""); ok {
		t.Error("no alert has a row")
	}
	if _, ok := ByEvent("issued"); ok {
		t.Error("an event that opens nothing has a row")
	}
}

// A row without an alert, or without a line in status, is a decision: each stands here.
func TestRowsThatOneSurfaceLacksAreListed(t *testing.T) {
	t.Parallel()
	var noAlert, noStatus []ID
	for _, r := range All() {
		if r.NoAlert != "" {
			noAlert = append(noAlert, r.ID)
		}
		if r.NoStatus != "" {
			noStatus = append(noStatus, r.ID)
		}
	}
	if want := []ID{RenewalFailed}; !slices.Equal(noAlert, want) {
		t.Errorf("without an alert: %v, want %v", noAlert, want)
	}
	if want := []ID{BudgetExceeded, DaemonDown, DaemonAbsent, DaemonRestarting}; !slices.Equal(noStatus, want) {
		t.Errorf("without a line in status: %v, want %v", noStatus, want)
	}
}

func TestACommandNeedsItsName(t *testing.T) {
	t.Parallel()
	r := Row{Commands: []string{"show {certificate}", "doctor {host}", "status"}}
	if got := r.Run(Names{Certificate: "web"}); !slices.Equal(got, []string{"show web", "status"}) {
		t.Errorf("without a host: %q", got)
	}
	if got := r.Run(Names{Certificate: "{host}", Host: "h"}); !slices.Equal(got, []string{"show {host}", "doctor h", "status"}) {
		t.Errorf("a name that looks like a placeholder: %q", got)
	}
}

func TestCriticalComesFirst(t *testing.T) {
	t.Parallel()
	for _, a := range All() {
		for _, b := range All() {
			if a.Severity == Critical && b.Severity == Warning && Rank(a.ID) >= Rank(b.ID) {
				t.Errorf("%s is not before %s", a.ID, b.ID)
			}
		}
	}
}
