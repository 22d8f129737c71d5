package renewer

import (
	"errors"
	"slices"
	"testing"
	"time"

	"renewer/renewer/problems"
)

// never is a certificate whose first activation failed, and the events of that.
func never(t *testing.T, previous string, foreign bool) (Certificate, Record, []Event) {
	t.Helper()
	c := entry("web", "a")
	rec := Record{Name: c.Name}
	return c, rec, failActivation(c, &rec, "r1", previous, foreign)
}

// failActivation renews a certificate, with an activation that fails.
func failActivation(c Certificate, rec *Record, revision, previous string, foreign bool) (events []Event) {
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	at := t0
	for range 20 {
		next := rec.Rollout.Next(c, Conditions{Now: at, WindowOpen: true})
		if rec.Rollout.Phase.Over() || len(next.Actions) == 0 {
			break
		}
		for _, a := range next.Actions {
			o := Outcome{Action: a, At: at, Revision: revision, Previous: previous, WasForeign: foreign}
			switch a.Kind {
			case ActOrder:
				o.Generation = generation(c, rec.Latest+1, at)
			case ActActivate, ActRestore:
				o.Err = errors.New("exit status 1")
			}
			rec.Begin(a)
			events = append(events, rec.apply(o)...)
		}
		at = at.Add(time.Second)
	}
	return events
}

func rowProblems(r Row, now time.Time) (ids []problems.ID) {
	r.Problems(now, func(id problems.ID, _ *HostRow) { ids = append(ids, id) })
	return ids
}

// look is a probe of files that sees what was placed.
func look(rec *Record, fingerprint string, at time.Time) {
	p := rec.Placements["a"]
	p.Observe(Look{Kind: ProbeFile, At: at, Seen: Observation{Served: fingerprint, NotAfter: t0.Add(90 * 24 * time.Hour)}}, "web", "a")
	rec.Placements["a"] = p
}

func TestAFailedFirstActivationIsBlockedAndNotAnotherCertificate(t *testing.T) {
	t.Parallel()
	c, rec, _ := never(t, "", false)
	gen := generation(c, 1, t0)
	for _, when := range []string{"before a probe", "after a probe of the files"} {
		row := NewRow(c, rec, gen)
		h := row.Hosts[0]
		if row.Status != StatusBlocked || h.State != HostBlocked || h.Error == "" {
			t.Errorf("%s: %s, host %+v", when, row.Status, h)
		}
		for _, now := range []time.Time{t0.Add(5 * time.Second), t0.Add(time.Hour)} {
			if got := rowProblems(row.At(now), now); !slices.Equal(got, []problems.ID{problems.RolloutBlocked}) {
				t.Errorf("%s: %v", when, got)
			}
		}
		look(&rec, gen.Fingerprint, t0.Add(3*time.Second))
	}
	if !NewRow(c, rec, gen).Hosts[0].Matches {
		t.Error("the probe saw what was issued, and the row says otherwise")
	}
	if look(&rec, "ff", t0.Add(4*time.Second)); NewRow(c, rec, gen).Hosts[0].Matches {
		t.Error("another certificate is called a match")
	}
}

func TestAnUnprovenCertificateIsNothingToRestore(t *testing.T) {
	t.Parallel()
	c, rec, _ := never(t, "", false)
	look(&rec, generation(c, 1, t0).Fingerprint, t0.Add(time.Second))
	events := failActivation(c, &rec, "r2", "r1", false)
	if slices.ContainsFunc(events, func(e Event) bool { return e.Type == EventRestoreFailed }) {
		t.Errorf("a restore failed where nothing was to restore: %+v", events)
	}
	gen := generation(c, 2, t0)
	row := NewRow(c, rec, gen)
	if got := rowProblems(row, t0.Add(time.Hour)); rec.Rollout.Phase != PhaseBlocked || !slices.Equal(got, []problems.ID{problems.RolloutBlocked}) {
		t.Errorf("%s: %v", rec.Rollout.Phase, got)
	}
}

// Status says what the message says: the service had files that worked.
func TestFilesOfOthersThatCannotBeRestoredAreCritical(t *testing.T) {
	t.Parallel()
	c, rec, events := never(t, "r0", true)
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Type == EventRestoreFailed }) {
		t.Fatalf("events %+v", events)
	}
	gen := generation(c, 1, t0)
	if got := rowProblems(NewRow(c, rec, gen), t0.Add(time.Minute)); !slices.Equal(got, []problems.ID{problems.RolloutBlocked, problems.RestoreFailed}) {
		t.Errorf("%v", got)
	}
}

// What is expected, or is being activated, is no other certificate; and an unknown
// time of a drift is not a long one.
func TestServedDiffersNeedsAnotherCertificateForTenMinutes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		host HostRow
		want problems.ID
	}{
		{"expected, not activated", HostRow{State: HostActivated, Served: "aa"}, ""},
		{"the one before, being activated", HostRow{State: HostActivated, Served: "ff", VerifiedAt: t0.Add(-time.Hour)}, ""},
		{"another for 9 minutes", HostRow{State: HostDrifted, Served: "ff", DriftedAt: t0.Add(-9 * time.Minute)}, problems.Drifted},
		{"another for 11 minutes", HostRow{State: HostDrifted, Served: "ff", DriftedAt: t0.Add(-11 * time.Minute)}, problems.ServedDiffers},
		{"another since an unknown time", HostRow{State: HostDrifted, Served: "ff"}, problems.Drifted},
	} {
		tc.host.Name, tc.host.Generation = "a", 1
		for _, status := range []Status{StatusPending, StatusDue, StatusBlocked, StatusRenewing} {
			r := Row{Name: "web", Status: status, Generation: 1, Fingerprint: "aa", NotAfter: t0.Add(60 * 24 * time.Hour), Hosts: []HostRow{tc.host}}
			got := slices.DeleteFunc(rowProblems(r, t0), func(id problems.ID) bool { return id == problems.NeverIssued })
			if want := tc.want; len(got) > 1 || want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0] != want) {
				t.Errorf("%s, %s: %v", tc.name, status, got)
			}
		}
	}
}
