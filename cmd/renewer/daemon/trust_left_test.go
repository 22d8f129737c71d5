package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"renewer/renewer"
)

// leaves takes the entry of a certificate out of the fleet file; its service or
// client goes on with what it has. The next edit writes it.
func leaves(name string) func(*world) {
	return func(w *world) {
		w.entries = strings.Join(slices.DeleteFunc(strings.SplitAfter(w.entries, "\n"), func(line string) bool {
			return strings.Contains(line, "name: "+name+",")
		}), "")
	}
}

// returns puts all entries of mutualTLS into the fleet file again.
func returns(w *world) { w.entries = mutualTLS }

// left is mutualTLS under one CA, of which an entry has left the fleet file.
func left(t *testing.T, name string) *world {
	t.Helper()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	w.passes()
	w.talk()
	leaves(name)(w)
	everyone("a")(w)
	w.pass("the pass after " + name + " left")
	return w
}

// refusedNobody checks that no request was refused so far.
func (w *world) refusedNobody() {
	w.t.Helper()
	if refused := w.refusals(); len(refused) > 0 {
		w.t.Fatalf("%d requests were refused, the first ones:\n%s", len(refused), strings.Join(refused[:min(5, len(refused))], "\n"))
	}
}

// waits returns what the rollout of a certificate waits for, as status shows it.
func (w *world) waits(name string) (text string) {
	w.with("show "+name, func(ctx context.Context, a *App) {
		d, err := a.Show(ctx, name)
		must(w.t, err)
		if d.Rollout != nil {
			text = strings.Join(d.Rollout.Waiting.Texts(), "\n")
		}
	})
	return text
}

func forgets(name string) func(*world) {
	return func(w *world) {
		w.with("forget "+name, func(ctx context.Context, a *App) {
			_, err := a.Forget(ctx, renewer.ForgetRequest{Name: name})
			must(w.t, err)
		})
	}
}

// A service that left the fleet file still verifies its clients, with a ca file
// that renewer no longer changes.
func TestALeafWaitsForAVerifierThatLeftTheFleetFile(t *testing.T) {
	for name, edit := range map[string]func(*world){
		"another issuer":               under([]string{"a", "b"}, "", "issuer: b"),
		"other files of the CA's name": replaced,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := left(t, "svc")
			edit(w)
			for range 3 {
				w.pass("a pass that waits")
			}
			w.refusedNobody()
			if text := w.waits("cli"); !strings.Contains(text, "svc@here") || !strings.Contains(text, "renewer forget svc") {
				t.Errorf("cli waits for %q", text)
			}
			w.with("plan, impact, trust", func(ctx context.Context, a *App) {
				steps, err := a.planned(ctx)
				must(t, err)
				if text := fmt.Sprint(steps); !strings.Contains(text, "svc@here") {
					t.Errorf("plan: %s", text)
				}
				i, err := a.Impact(ctx, renewer.ImpactRequest{Target: "cli"})
				must(t, err)
				if len(i.Refused) != 1 || !slices.Equal(i.Refused[0].Verifiers, []string{"svc@here"}) {
					t.Errorf("impact: %+v", i)
				}
				tr, err := a.Trust(ctx, renewer.TrustRequest{Names: []string{"svc"}})
				must(t, err)
				if !slices.ContainsFunc(tr.Pairs, func(p renewer.TrustPair) bool {
					return slices.Equal(p.Verifiers, []string{"svc@here"}) && slices.Equal(p.Presenters, []string{"cli@here"})
				}) {
					t.Errorf("trust: %+v", tr.Pairs)
				}
			})
			w.rocky = true // it is refused from now on, as was said
			forgets("svc")(w)
			w.passes()
			w.holds("cli", "here", w.rootsOf("cli"))
		})
	}
}

// rootsOf names the CA that signed what is in place.
func (w *world) rootsOf(name string) string {
	p, err := readPeer(w.place(name, "here"))
	must(w.t, err)
	for known, ca := range w.cas {
		if p.pair.Leaf.CheckSignatureFrom(ca.Cert) == nil {
			return known
		}
	}
	return ""
}

// An entry that comes back is what it was: nothing is issued, and what it waited
// for goes on.
func TestAnEntryThatComesBackIsWhatItWas(t *testing.T) {
	for _, name := range []string{"svc", "cli"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := left(t, name)
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.pass("a pass that waits")
			returns(w)
			everyone("a")(w)
			w.passes()
			w.rests()
			if row := w.rows()[name]; row.Generation != 1 {
				t.Errorf("it was reissued: %+v", row)
			}
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.passes()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			rollback(name)(w)
			w.passes()
			w.refusedNobody()
		})
	}
}

// A CA is replaced when what left the fleet file and checks its certificates is
// let go, or has come back.
func TestARotationWaitsForWhatLeftTheFleetFile(t *testing.T) {
	for _, name := range []string{"svc", "cli"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := left(t, name)
			rotate(renewer.RotateRequest{})(w)
			for range 3 {
				w.pass("a pass that waits")
			}
			w.refusedNobody()
			v := w.rotation()
			if text := strings.Join(v.Waiting, "\n"); v.Stage != "add_root" || !v.Blocked || !strings.Contains(text, name+"@here") || !strings.Contains(v.Ends, "renewer forget "+name) {
				t.Errorf("%+v", v)
			}
			returns(w)
			everyone("a")(w)
			w.passes()
			w.at("done")
			w.refusedNobody()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
		})
	}
}

// A key that is compromised is trusted by nothing that renewer writes, whatever left
// the fleet file.
func TestACompromisedCAWaitsForNothingThatLeftTheFleetFile(t *testing.T) {
	for name, stays := range map[string]string{"svc": "cli", "cli": "svc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := left(t, name)
			w.rocky = true // what left is refused, and refuses, as breaks says
			w.with("ca rotate --compromised --plan", func(ctx context.Context, a *App) {
				v, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Compromised: true, Plan: true}, nil)
				must(t, err)
				if text := strings.Join(v.Breaks, "\n"); !strings.Contains(text, name+"@here") || !strings.Contains(text, "renewer forget "+name) {
					t.Errorf("breaks: %s", text)
				}
			})
			rotate(renewer.RotateRequest{Compromised: true})(w)
			w.passes()
			w.at("done")
			w.endsWith(stays, "b")
			if by := w.rotation().TrustedBy; !slices.Equal(by, []string{name + "@here"}) {
				t.Errorf("the old root is trusted by %v", by)
			}
		})
	}
}

// renames calls an entry otherwise, with the same files.
func renames(from, to string) func(*world) {
	return func(w *world) {
		w.entries = strings.Replace(w.entries, "name: "+from+",", "name: "+to+",", 1)
	}
}

// An entry that is renamed is what it was: nothing is issued, no root becomes
// somebody else's, and the name that it had is in no list.
func TestARenamedEntryIsWhatItWas(t *testing.T) {
	for _, name := range []string{"svc", "cli"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Replace(mutualTLS, "name: cli,", "name: cli, common_name: cli,", 1), false)
			everyone("a")(w)
			w.passes()
			renew(name)(w)
			w.talk()
			renames(name, "api")(w)
			everyone("a")(w)
			w.with("plan", func(ctx context.Context, a *App) {
				if steps, err := a.planned(ctx); err != nil || len(steps) != 2 || steps[0].Action != "move" || steps[1].Action != "verify" {
					t.Errorf("plan: %+v, %v", steps, err)
				}
			})
			w.passes()
			w.rests()
			rows := w.rows()
			if row, left := rows["api"], rows[name]; row.Generation != 2 || row.Status != renewer.StatusValid || left.Name != "" {
				t.Errorf("%+v, %+v", row, left)
			}
			w.with("trust", func(ctx context.Context, a *App) {
				tr, err := a.Trust(ctx, renewer.TrustRequest{})
				must(t, err)
				if text := fmt.Sprintf("%+v", tr); strings.Contains(text, name+"@here") || len(tr.Roots) != 1 || len(tr.Roots[0].Foreign) > 0 {
					t.Errorf("trust: %s", text)
				}
			})
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.passes()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			w.rests()
			renames("api", name)(w) // and back
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.passes()
			w.rests()
			was := w.rows()[name].Generation
			renew(name)(w)
			rollback(name)(w) // its key is under the other name
			w.passes()
			w.refusedNobody()
			w.rests()
			if rows := w.rows(); rows[name].Generation != was || rows["api"].Name != "" {
				t.Errorf("rolled back to %d: %+v", was, rows)
			}
		})
	}
}

// An entry is renamed and gets another issuer in one edit, for each kind of peers: no
// peer is refused, and the old roots are removed as without the rename.
func TestRenamedEntryWithAnotherIssuerRefusesNoPeer(t *testing.T) {
	for kind, entries := range map[string]string{"mutual TLS": mutualTLS, "both in one": bothInOne, "a trust bundle": trustBundle} {
		for _, name := range []string{"svc", "cli"} {
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, entries, false)
				cli := func(issuer string) string {
					if entries == trustBundle {
						return "trust: [" + issuer + "]"
					}
					return "issuer: " + issuer
				}
				under([]string{"a"}, "issuer: a", cli("a"))(w)
				w.passes()
				w.talk()
				renames(name, "api")(w)
				under([]string{"a", "b"}, "issuer: b", cli("b"))(w)
				w.passes()
				w.refusedNobody()
				w.endsWith("svc", "b")
				w.endsWith("cli", "b")
				w.rests()
				if rows := w.rows(); len(rows) != 2 {
					t.Errorf("%+v", rows)
				}
			})
		}
	}
}

// What somebody changed in place does not keep a placement that is both from taking
// the added roots first.
func TestADriftedPlacementThatIsBothTakesTheRootsFirst(t *testing.T) {
	for what, change := range map[string]func(w *world, file string){
		"a mode": func(w *world, file string) { must(w.t, os.Chmod(file, 0o600)) },
		"a root": func(w *world, _ string) { w.add(evil(w.t), "svc", "ca.crt") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bothInOne, false)
			everyone("a")(w)
			w.passes()
			w.talk()
			change(w, w.in("svc", "ca.crt"))
			w.rocky = true // verify fails
			w.with("verify", func(ctx context.Context, a *App) {
				_, err := a.Verify(ctx, nil)
				must(t, err)
			})
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.passes()
			w.refusedNobody()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
		})
	}
}

// A rollout that waits does not keep an entry from being renamed: what it brought is
// not in place, and the new name waits for the same.
func TestAnEntryIsRenamedWhileItsRolloutWaits(t *testing.T) {
	for _, name := range []string{"svc", "cli"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := map[string]string{"svc": "cli", "cli": "svc"}[name]
			w := left(t, other)
			edit := under([]string{"a", "b"}, "issuer: b", "issuer: b")
			edit(w)
			w.pass("a pass that waits")
			renames(name, "api")(w)
			edit(w)
			w.pass("the new name waits")
			if text := w.waits("api"); !strings.Contains(text, "renewer forget "+other) {
				t.Errorf("it waits for %q", text)
			}
			w.entries = strings.Replace(mutualTLS, "name: "+name+",", "name: api,", 1)
			edit(w)
			w.passes()
			w.refusedNobody()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			if rows := w.rows(); len(rows) != 2 || rows[name].Name != "" {
				t.Errorf("%+v", rows)
			}
			w.rests()
		})
	}
}

// What is let go, or was on a retired host, and comes back, has files that renewer wrote:
// they are not called foreign, and their root goes when another one takes its place.
func TestWhatWasLetGoAndComesBackIsNotForeign(t *testing.T) {
	for name, gone := range map[string]func(*world){
		"let go": func(w *world) { leaves("cli")(w); everyone("a")(w); w.pass("without it"); forgets("cli")(w) },
		"retired": func(w *world) {
			w.hosts = strings.Replace(w.hosts, "far: {address", "far: {retired: true, address", 1)
			everyone("a")(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Replace(farService, "{name: cli, usages: [client],", "{name: cli, usages: [client], hosts: [far], ", 1), false)
			w.addFar()
			entries, hosts := w.entries, w.hosts
			everyone("a")(w)
			w.passes()
			gone(w)
			w.pass("without it")
			w.entries, w.hosts = entries, hosts
			under([]string{"a", "b"}, "issuer: b", "issuer: b")(w)
			w.rocky = true
			w.passes()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			w.with("history", func(_ context.Context, a *App) {
				events, err := a.store.Events(renewer.EventFilter{})
				must(t, err)
				for _, e := range events {
					if e.Type == renewer.EventFound {
						t.Errorf("%+v", e)
					}
				}
			})
		})
	}
}

// A host that is given another name in the fleet file is the machine that it was: nothing
// of the earlier name is left.
func TestARenamedHostIsWhatItWas(t *testing.T) {
	for name, entries := range map[string]string{
		"a client of two hosts":  farClient,
		"a certificate per host": strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1),
		"the service":            farService,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entries, false)
			w.addFar()
			everyone("a")(w)
			w.passes()
			w.talk()
			w.hosts = strings.Replace(w.hosts, "far:", "distant:", 1)
			w.entries = strings.ReplaceAll(w.entries, "far]", "distant]")
			everyone("a")(w)
			w.pass("a pass after the host was renamed")
			w.pass("another one")
			rows := w.rows()
			if row := rows["cli"]; row.Name != "" && row.Generation != 1 {
				t.Errorf("it was reissued: %+v", row) // the one that has the host's name in it
			}
			if row, listed := rows["cli@far"]; listed {
				t.Errorf("%+v", row)
			}
			w.refusedNobody()
			w.with("trust", func(ctx context.Context, a *App) {
				tr, err := a.Trust(ctx, renewer.TrustRequest{})
				must(t, err)
				if text := fmt.Sprint(tr.Pairs); strings.Contains(text, "@far") {
					t.Errorf("the matrix has the earlier name: %s", text)
				}
			})
		})
	}
}
