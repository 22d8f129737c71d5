package daemon

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// remoteCA is an issuer that can be asked in two ways.
type remoteCA struct {
	engine.Issuer
	health, login error
	offset        time.Duration
}

func (s *remoteCA) Roots(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{{Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Unix(2e9, 0)}}, nil
}

func (s *remoteCA) Intermediates() []*x509.Certificate {
	return []*x509.Certificate{{Subject: pkix.Name{CommonName: "signs"}, NotAfter: time.Unix(19e8, 0)}}
}

func (s *remoteCA) Health(context.Context) error       { return s.health }
func (s *remoteCA) LogIn(context.Context) error        { return s.login }
func (s *remoteCA) ClockOffset() (time.Duration, bool) { return s.offset, s.offset != 0 }

// check --online logs in afresh, through what wraps the issuer, and says what
// is wrong in one line; status asks for the health, and keeps since when.
func TestWhatIsAskedOfAnIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &remoteCA{offset: 1500 * time.Millisecond}
		cfg := configs.Issuer{Name: "corp", Type: "vault", Rate: 20}
		p := &parts{fleet: &configs.Fleet{Issuers: []configs.Issuer{cfg}}, issuers: map[string]engine.Issuer{}}
		p.issuers["corp"] = p.pace(cfg, s, nil)
		var h health
		status := func(question func(context.Context, engine.Issuer) error) renewer.IssuerStatus {
			t.Helper()
			h.askWith(t.Context(), p, question)
			issuers, _ := h.all()
			if len(issuers) != 1 {
				t.Fatalf("issuers %+v", issuers)
			}
			return issuers[0]
		}
		begin := time.Now().UTC()
		if st := status(askHealth); !st.Up || !st.Since.Equal(begin) || st.ClockOffset == nil || *st.ClockOffset != 1.5 {
			t.Errorf("%+v", st)
		} else if want := []renewer.CAStatus{{Subject: "CN=signs", NotAfter: time.Unix(19e8, 0).UTC()}, {Subject: "CN=root", NotAfter: time.Unix(2e9, 0).UTC()}}; !slices.Equal(st.CAs, want) {
			t.Errorf("CAs %+v; want %+v", st.CAs, want)
		}
		time.Sleep(time.Hour)
		s.login = renewer.WithHint(errors.New("Error making API request.\n\nCode: 403. Errors:\n* permission denied"), "fix the policy")
		if st := status(askHealth); !st.Up || !st.Since.Equal(begin) {
			t.Errorf("health: %+v", st)
		}
		st := status(logIn)
		if st.Up || st.Error != "Error making API request. Code: 403. Errors: * permission denied" || st.Hint != "fix the policy" || !st.Since.Equal(begin.Add(time.Hour)) {
			t.Errorf("login: %+v", st)
		}
		time.Sleep(time.Hour)
		if st = status(logIn); !st.Since.Equal(begin.Add(time.Hour)) {
			t.Errorf("down since %s", st.Since)
		}
		// What an order says counts too, but not that one was refused.
		h.issued("corp", nil)
		if issuers, _ := h.all(); !issuers[0].Up || issuers[0].Error != "" || !issuers[0].Since.Equal(begin.Add(2*time.Hour)) {
			t.Errorf("after an order: %+v", issuers[0])
		}
		h.issued("corp", &renewer.Error{Class: renewer.ClassRefused, Err: errors.New("no")})
		if issuers, _ := h.all(); !issuers[0].Up {
			t.Errorf("after one that was refused: %+v", issuers[0])
		}
	})
}

// Between two probes an issuer is asked, too; once more where it does not
// answer, so that one that restarts is not down.
func TestIssuersAreAskedBetweenProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &restarting{}
		cfg := configs.Issuer{Name: "corp", Type: "vault"}
		p := &parts{fleet: &configs.Fleet{Issuers: []configs.Issuer{cfg}}, issuers: map[string]engine.Issuer{"corp": s}}
		var h health
		h.askIssuers(t.Context(), p)
		if got, _ := h.all(); len(got) != 0 {
			t.Errorf("before the first answer: %+v", got)
		}
		h.ask(t.Context(), p)
		up := func() renewer.IssuerStatus {
			t.Helper()
			h.askIssuers(t.Context(), p)
			got, _ := h.all()
			return got[0]
		}
		since := up().Since
		s.away(3 * time.Second)
		if st := up(); !st.Up || st.Error != "" || !st.Since.Equal(since) {
			t.Errorf("it restarted: %+v", st)
		}
		s.away(time.Hour)
		if st := up(); st.Up || st.Error == "" || st.Since.Equal(since) {
			t.Errorf("it is down: %+v", st)
		}
		down := up().Since
		<-time.After(2 * time.Hour)
		if st := up(); !st.Up || st.Since.Equal(down) {
			t.Errorf("it is back: %+v", st)
		}
	})
}

// restarting is an issuer that is away until some time.
type restarting struct {
	remoteCA
	until time.Time
}

func (s *restarting) away(d time.Duration) { s.until = time.Now().Add(d) }

func (s *restarting) Health(context.Context) error {
	if time.Now().Before(s.until) {
		return errors.New("connection refused")
	}
	return nil
}
