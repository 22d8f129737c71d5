package renewer

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// peer is a certificate of group g, in place, signed by issuer.
func peer(name string, usage Usage, wants, issuer, placedTrust, wantedTrust string) Peer {
	c := entry(name, "h-"+name)
	c.Usages, c.PeerGroup, c.Issuer, c.Trust = []Usage{usage}, "g", wants, []string{wants}
	st := inPlace(c, 1).Placements
	for h, p := range st {
		p.Trust = placedTrust
		st[h] = p
	}
	return Peer{Certificate: c, Placements: st, Issuer: issuer, Trust: wantedTrust}
}

func TestARootIsTrustedAsLongAsAPeerShowsACertificateUnderIt(t *testing.T) {
	server := peer("server", UsageServer, "new", "old", "", "").Certificate
	for name, tc := range map[string]struct {
		peer Peer
		want []string
	}{
		"a client that has not moved": {peer("client", UsageClient, "new", "old", "", ""), []string{"new", "old"}},
		"a client that has moved":     {peer("client", UsageClient, "new", "new", "", ""), []string{"new"}},
		"a client that stays":         {peer("client", UsageClient, "clients-ca", "clients-ca", "", ""), []string{"new"}}, // its roots are under trust:
		"another server":              {peer("other", UsageServer, "new", "old", "", ""), []string{"new"}},
		"a client without any":        {peer("client", UsageClient, "new", "", "", ""), []string{"new"}},
	} {
		if got := server.TrustNow([]Peer{tc.peer}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	bundle := server
	bundle.Name, bundle.Usages = "roots", nil
	if got := bundle.TrustNow([]Peer{peer("server", UsageServer, "new", "old", "", "")}); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("a trust bundle for clients: %v", got)
	}
}

func TestAnotherIssuerWaitsForItsRoots(t *testing.T) {
	c := peer("server", UsageServer, "new", "old", "", "").Certificate
	g := generation(c, 1, t0)
	g.Request.Issuer = "old"
	o := Observed{Record: inPlace(c, 1), Current: g, Trust: "old and new"}
	o.Untrusting = c.Untrusting([]Peer{peer("client", UsageClient, "new", "old", "old", "old and new")})
	if !strings.Contains(o.Untrusting, "client@h-client does not have the roots of issuer new yet") {
		t.Fatalf("%q", o.Untrusting)
	}
	d := Plan(c, o, t0.Add(time.Hour))
	if d.Open == nil || d.Open.Kind != KindPlace || d.Open.Reasons[0].Code != ReasonTrust || d.Wait == "" {
		t.Fatalf("first the roots: %+v", d)
	}
	for h, st := range o.Record.Placements {
		st.Trust = o.Trust
		o.Record.Placements[h] = st
	}
	if d := Plan(c, o, t0.Add(time.Hour)); d.Open != nil || d.Wait == "" {
		t.Fatalf("its own are there, its peer's not: %+v", d)
	}
	if steps := PlanSteps(c, o, Conditions{Now: t0.Add(time.Hour), WindowOpen: true}, nil); len(steps) != 1 || steps[0].Action != "wait" {
		t.Errorf("%+v", steps)
	}
	o.Untrusting = c.Untrusting([]Peer{peer("client", UsageClient, "new", "old", "old and new", "old and new")})
	if d := Plan(c, o, t0.Add(time.Hour)); o.Untrusting != "" || d.Open == nil || d.Open.Kind != KindIssue {
		t.Fatalf("then the certificate: %+v", d)
	}
	o.Untrusting = "somebody"
	if d := Plan(c, o, g.RenewAt); d.Open == nil || d.Open.Kind != KindIssue {
		t.Errorf("at the renew time nothing is waited for: %+v", d)
	}
}

func TestWhatIsReadAgainNeedsNoRestart(t *testing.T) {
	p := entry("web", "a").Placements[0]
	was := PlacementState{Revision: "r1", Layout: p.Layout(), Trust: "roots"}
	stopped := was
	stopped.Unactivated = true
	for name, tc := range map[string]struct {
		does  Reloads
		was   PlacementState
		trust string
		want  bool
	}{
		"nothing by itself":            {Reloads{}, was, "roots", false},
		"a leaf":                       {Reloads{Leaf: true}, was, "roots", true},
		"a leaf, and other roots":      {Reloads{Leaf: true}, was, "others", false},
		"both":                         {Reloads{Leaf: true, Trust: true}, was, "others", true},
		"the first":                    {Reloads{Leaf: true, Trust: true}, PlacementState{}, "roots", false},
		"what was there before":        {Reloads{Leaf: true, Trust: true}, PlacementState{Revision: "r0"}, "roots", false},
		"what was never loaded":        {Reloads{Leaf: true, Trust: true}, stopped, "roots", false},
		"trust alone is of no use yet": {Reloads{Trust: true}, was, "roots", false},
	} {
		p.Reloads = tc.does
		if got := p.Rereads(tc.was, p.Layout(), tc.trust); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
