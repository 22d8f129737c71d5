package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/renewer"
)

// What the client writes into a URL is what the server reads.
func TestRequestsCrossAURLUnchanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		across(t, list.route, renewer.ListFilter{
			ExpiringWithin: time.Duration(rapid.Int64Min(0).Draw(t, "expiring")), Host: text.Draw(t, "host"), Issuer: text.Draw(t, "issuer"),
		})
		across(t, events.route, renewer.EventFilter{
			After: rapid.Uint64().Draw(t, "after"), Before: rapid.Uint64().Draw(t, "before"), Limit: rapid.Int().Draw(t, "limit"),
			Since: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), 123).UTC(), Certificate: text.Draw(t, "certificate"),
			Rollouts: rapid.SliceOfN(text, 1, 3).Draw(t, "rollouts"),
		})
		across(t, trust.route, renewer.TrustRequest{Names: rapid.SliceOfN(text, 1, 3).Draw(t, "names"), Brief: rapid.Bool().Draw(t, "brief")})
	})
}

func across[Req any](t *rapid.T, rt *route, want Req) {
	got, err := request[Req](httptest.NewRecorder(), httptest.NewRequest(rt.method, rt.target(want), nil))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%s: %v (-want +got):\n%s", rt.target(want), err, diff)
	}
}

func TestTimesAndDurationsAreReadAsPeopleTypeThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 30 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1y": 365 * 24 * time.Hour, "36500d": 36500 * 24 * time.Hour,
		"36501d": 0, "99999w": 0, "-1d": 0, "-1h": 0, "d": 0, "1": 0, "": 0, "1 d": 0, "1.5d": 0, "99999999999999999999d": 0,
	} {
		got, err := parseDuration(text)
		if (err == nil) != (want != 0) || err == nil && got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]time.Time{"2026-11-22T05:00:00Z": start, "2026-11-22T06:00:00%2B01:00": start, "2026-11-22": {}, "24": {}} {
		f, err := request[renewer.EventFilter](nil, httptest.NewRequest(http.MethodGet, Prefix+"/events?since="+text, nil))
		if (err == nil) != !want.IsZero() || !f.Since.Equal(want) && err == nil {
			t.Errorf("%q: %s, %v", text, f.Since, err)
		}
	}
}

func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"since=7d&limit=5", "since=2026-11-22T05:00:00Z", "rollout=a&rollout=b", "limit=-1&x=1", "%zz", "after=18446744073709551616", "limit=1e3", "limit=null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, Prefix+"/events", nil)
		r.URL.RawQuery = query
		if _, err := request[renewer.EventFilter](nil, r); err != nil && !errors.As(err, new(requestError)) {
			t.Errorf("%q: %v", query, err)
		}
		if strings.Contains(query, "limit=null") {
			if _, err := request[renewer.EventFilter](nil, r); err == nil {
				t.Errorf("%q is a limit", query)
			}
		}
	})
}

// A name that a path is cleaned of stays in its route, and none at all is refused.
func TestNamesStayInTheirRoute(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 3)
	c := connected(t, &fakeService{show: func(_ context.Context, name string) (renewer.Detail, error) {
		asked <- name
		return renewer.Detail{}, nil
	}})
	for _, name := range []string{".", "..", "a/../b"} {
		if _, err := c.Show(t.Context(), name); err != nil {
			t.Errorf("%q: %v", name, err)
		} else if got := <-asked; got != name {
			t.Errorf("%q was asked for as %q", name, got)
		}
	}
	if _, err := c.Show(t.Context(), ""); renewer.ClassOf(err) != renewer.ClassUnknown {
		t.Errorf("no name: %v", err)
	}
}
