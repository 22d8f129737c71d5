package page

import (
	"strings"
	"testing"
	"time"

	"renewer/internal/testfleet"
	"renewer/renewer"
)

func TestTrustShowsTheMatrixAndItsRoots(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("9c", 16)
	f := &testfleet.Fleet{Matrix: renewer.Trust{
		At: now.Add(-time.Minute),
		Pairs: []renewer.TrustPair{
			{Presenters: []string{"cli@a"}, As: renewer.UsageClient, Issuer: "ca", Under: renewer.RootSet{id}, Verifiers: []string{"docker@a", "docker@b"}, State: renewer.NotLoaded, Until: now.Add(time.Hour)},
			{Presenters: []string{"docker@a", "docker@b"}, As: renewer.UsageServer, Issuer: "ca", Under: renewer.RootSet{id}, Verifiers: []string{"cli@a"}, State: renewer.Assumed},
		},
		Roots: []renewer.TrustRoot{{ID: id, Fingerprint: id + id, Subject: "CN=<b>Old,O=Corp", NotAfter: now.AddDate(1, 0, 0), Presenters: 3, Verifiers: 3, Foreign: []string{"cli@a"}, NeededBy: []string{"docker@b"}}},
	}}
	status, page := get(t, f, "/trust")
	got := text(page)
	for _, want := range []string{
		"1 line of 2: not accepted", "As of 1 min ago", "cli@a client 9c9c9c9c <b>Old docker×2 ! not loaded counts as loaded in 1 h",
		"docker×2 server 9c9c9c9c <b>Old cli@a ✓ assumed", "CN=<b>Old,O=Corp", "none now; needed by docker@b", "cli@a Run renewer trust --drop 9c9c9c9c",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%d: %q is missing in\n%s", status, want, got)
		}
	}
	f.Matrix.Pairs = f.Matrix.Pairs[1:]
	if _, page := get(t, f, "/trust"); !strings.Contains(text(page), "Every certificate in place is accepted") {
		t.Errorf("all accepted: %s", text(page))
	}
}

func TestTrustOfAnEmptyFleetAndOfALargeOne(t *testing.T) {
	t.Parallel()
	f := &testfleet.Fleet{}
	if _, page := get(t, f, "/trust"); !strings.Contains(text(page), "Nothing is in place yet") {
		t.Errorf("an empty fleet: %s", text(page))
	}
	for range 300 {
		f.Matrix.Pairs = append(f.Matrix.Pairs, renewer.TrustPair{Presenters: []string{"a@h"}, Verifiers: []string{"b@h"}, State: renewer.NotKnown})
	}
	_, page := get(t, f, "/trust")
	if got := text(page); !strings.Contains(got, "300 lines of 300") || !strings.Contains(got, "100 more lines") || strings.Count(page, ">a@h<") != mostPairs {
		t.Errorf("a large fleet: %s", got)
	}
}
