package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/server"
)

// daemon runs the daemon of a world while the clients ask, and hands do a client of
// its socket.
func (w *world) daemon(do func(ctx context.Context, s server.Service)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		stopped <- Run(run, w.file, Options{store: func(s engine.Store) engine.Store { return asking{s, w} }}, nil)
	}()
	defer func() {
		stop()
		must(w.t, <-stopped)
	}()
	do(ctx, w.reach(w.t))
}

// The daemon does a rotation by itself, without waiting for its schedule, and its
// command waits for the end.
func TestTheDaemonRotatesByItself(t *testing.T) {
	for _, entries := range []string{mutualTLS, bothInOne} {
		for _, r := range []renewer.RotateRequest{{}, {Compromised: true}, {Kind: "reissue"}} {
			t.Run(fmt.Sprintf("both=%t/%+v", entries == bothInOne, r), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, entries, false)
				everyone("a")(w)
				w.passes()
				w.talk()
				if r.Issuer, r.Wait = "a", true; r.Kind == "" {
					r.Kind = "rotate"
				}
				w.daemon(func(ctx context.Context, s server.Service) {
					var types []string
					v, err := s.Rotate(ctx, r, func(e renewer.Event) { types = append(types, string(e.Type)) })
					must(t, err)
					if v.Stage != "done" || v.OldKey != "kept" {
						t.Errorf("%+v", v)
					}
					if text := strings.Join(types, " "); !strings.HasPrefix(text, "requested ca_rotation_started") || !strings.HasSuffix(text, "ca_rotation_done") || !strings.Contains(text, "ca_rotation_switched") {
						t.Errorf("events: %s", text)
					}
					st, err := s.Status(ctx)
					must(t, err)
					if len(st.Issuers) != 1 || st.Issuers[0].Rotation == nil || st.Issuers[0].Rotation.Stage != "done" {
						t.Errorf("%+v", st.Issuers)
					} else if cas := st.Issuers[0].CAs; len(cas) != 1 || !cas[0].NotAfter.Equal(v.To.NotAfter) {
						t.Errorf("the CA that signs is %+v, and shown is %+v", v.To, cas)
					}
				})
				w.know("state/issuers/a/ca.pem")
				w.endsWith("svc", "b")
				w.endsWith("cli", "b")
				w.at("done")
				if refused := w.refusals(); len(refused) > 0 {
					t.Errorf("%q", refused)
				}
			})
		}
	}
}

// A command that waits ends with what is blocked; a second one changes the rotation
// that is under way.
func TestAWaitForARotationEndsWhereItIsBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1), false)
	way := w.addFar()
	everyone("a")(w)
	w.passes()
	way.shut.Store(true)
	w.daemon(func(ctx context.Context, s server.Service) {
		v, err := s.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Wait: true}, nil)
		must(t, err)
		if v.Stage != "add_root" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "cli@far") {
			t.Errorf("%+v", v)
		}
		_, err = s.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate"}, nil)
		if err == nil || !strings.Contains(err.Error(), "is being replaced since") || !strings.Contains(err.Error(), "cli@far") || !strings.Contains(renewer.Hint(err), "--cancel") {
			t.Errorf("a second rotation: %v, hint %q", err, renewer.Hint(err))
		}
		v, err = s.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Without: []string{"far"}, Wait: true}, nil)
		must(t, err)
		if v.Stage != "done" {
			t.Errorf("without far: %+v", v)
		}
	})
}
