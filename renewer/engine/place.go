package engine

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"renewer/renewer"
	"renewer/renewer/pki"
)

type signer = crypto.Signer

var errKeyLost = errors.New("no host has its key any more")

// stage writes what the rollout delivers beside what is live.
func (e *Engine) stage(ctx context.Context, j job) renewer.Outcome {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	out := renewer.Outcome{Action: j.Action, Layout: j.placement.Layout(), Roots: j.want}
	if err := e.stageOn(ctx, j, &out); err != nil {
		out.Err = err
		if errors.Is(err, errKeyLost) {
			out.Missing = renewer.MissingKey
		}
	}
	return out
}

func (e *Engine) stageOn(ctx context.Context, j job, out *renewer.Outcome) error {
	host, err := j.host()
	if err != nil {
		return err
	}
	if found, err := e.strangers(ctx, j, host, out); err != nil || found {
		return err
	}
	if j.state.Undiscovered() { // who owns it now, or why it cannot be checked, comes first
		if _, err := host.Inspect(ctx, j.placement); err != nil {
			return err
		}
	}
	if j.step.Pass == renewer.PassRoots && j.state.Origin == renewer.OriginForeign {
		return j.addRoots(ctx, host, out)
	}
	var chain renewer.Chain
	var key signer
	if !j.cert.IsBundle() {
		if j.gen == nil {
			return errors.New("the generation to place is not in the inventory")
		}
		if chain, err = j.gen.Parse(); err != nil {
			return err
		}
		if key, err = e.keyOf(ctx, j, chain); err != nil {
			return err
		}
	}
	roots, err := j.bundle(ctx, host, out)
	if err != nil {
		return err
	}
	content, err := pki.Content(j.placement.Files, chain, key, roots)
	if err != nil {
		return err
	}
	if kind := j.placement.Activate.Kind; chain.Leaf != nil && (kind == renewer.ActivateSystemd || kind == renewer.ActivateDocker) {
		clock, err := host.Clock(ctx)
		if err != nil {
			return err
		}
		if err := pki.Preflight(j.placement, chain.Leaf, clock); err != nil {
			return err
		}
	}
	staged, err := host.Stage(ctx, j.placement, content)
	if err != nil {
		return err
	}
	out.Revision, out.Previous, out.Live = staged.Revision, staged.Previous, staged.Live
	st, moved := j.state, j.state.MovedTo(j.placement.Dir)
	if out.Live && out.Previous == "" && !moved {
		out.Previous = st.Revision
	}
	out.WasForeign = !st.Placed() || moved || st.Seen != nil || st.Origin == renewer.OriginForeign
	return nil
}

// bundle returns the roots for the ca file: those wanted, and those that were in
// the file before renewer wrote it, which are not renewer's to drop.
func (j job) bundle(ctx context.Context, host Host, out *renewer.Outcome) ([]*x509.Certificate, error) {
	if _, has := j.placement.Files[renewer.FileCA]; !has {
		return nil, nil
	}
	want := j.want
	if !want.Known() { // an issuer has not said its roots yet
		base, err := j.roots.need(ctx, j.fleet.Issuers, j.cert.Trust...)
		if err != nil {
			return nil, err
		}
		want = renewer.RootSetOf(base).With(j.state.Roots).With(j.state.Foreign)
	}
	out.Foreign = j.state.Foreign.Without(j.roots.base(j.cert.Trust...)).Without(j.fleet.gone())
	out.Roots = want.With(out.Foreign)
	roots, err := j.roots.certs(out.Roots)
	out.NewRoots = append(out.NewRoots, ders(roots)...)
	return roots, err
}

// strangers looks, before anything is placed for the first time, whether files of
// somebody else's are there: who accepts them has to accept what takes their place.
func (e *Engine) strangers(ctx context.Context, j job, host Host, out *renewer.Outcome) (found bool, err error) {
	if j.state.Placed() || j.state.Origin == renewer.OriginForeign {
		return false, nil
	}
	disk, err := host.Inspect(ctx, j.placement)
	if out.Bare = bare(disk, err); err != nil || out.Bare {
		return false, err
	}
	j.roots.learn(disk.Roots...)
	out.End, out.Foreign, out.NewRoots = renewer.EndHeld, authorities(disk.Roots), ders(disk.Roots)
	out.Found = &renewer.Seen{
		Content: true, Leaf: disk.Leaf, Under: pki.Under(disk.Chain, j.roots.all()), NotAfter: disk.NotAfter.Unix(), Roots: disk.Trusts,
	}
	if len(disk.Deviations) > 0 || disk.Revision == "" {
		return true, nil
	}
	gens, err := e.Store.Generations(j.cert.Name)
	if slices.ContainsFunc(gens, func(g renewer.Generation) bool { return g.Fingerprint == disk.Leaf }) { // it was let go: what it led to was renewer's to place
		out.Previous, out.Foreign = disk.Revision, out.Foreign.Without(out.Found.Under)
	}
	return true, err
}

// bare reports whether a look saw nothing that anybody presents or trusts, or was refused
// by a directory that is not worked in: what others can change there protects nothing.
func bare(disk OnDisk, err error) bool {
	return errors.Is(err, renewer.ErrOpenToOthers) || err == nil && disk.Leaf == "" && len(disk.Trusts) == 0
}

// addRoots stages what is in place with roots added, and nothing else changed.
func (j job) addRoots(ctx context.Context, host Host, out *renewer.Outcome) error {
	roots, err := j.bundle(ctx, host, out)
	if err != nil {
		return err
	}
	var content map[renewer.FileKind][]byte
	if _, err := host.Adopt(ctx, j.placement, func(files map[renewer.FileKind][]byte) error {
		content = maps.Clone(files)
		return nil
	}); err != nil {
		return err
	}
	content[renewer.FileCA] = pki.PEM(roots...)
	staged, err := host.Stage(ctx, j.placement, content)
	if err != nil {
		return err
	}
	out.Revision, out.Previous, out.Live, out.WasForeign = staged.Revision, staged.Previous, staged.Live, true
	return nil
}

// authorities returns those of the certificates of a ca file that can be roots.
func authorities(in []*x509.Certificate) renewer.RootSet {
	return renewer.RootSetOf(slices.DeleteFunc(slices.Clone(in), func(c *x509.Certificate) bool {
		return !c.IsCA && (c.Version > 1 || !bytes.Equal(c.RawSubject, c.RawIssuer))
	}))
}

// keyOf returns the private key of the generation: as it was made in this
// process, from the inventory while that has it, or from a host.
func (e *Engine) keyOf(ctx context.Context, j job, chain renewer.Chain) (signer, error) {
	if key := e.made.get(j.rollout.ID); key != nil && pki.Belongs(key, chain.Leaf) {
		return key, nil
	}
	text, err := e.storedKey(j, j.gen.Number)
	if err == nil && text == nil {
		text, err = e.readBack(ctx, j, j.gen)
	}
	if err != nil {
		return nil, err
	}
	return pki.DecodeKey(text)
}

// storedKey opens the key that the inventory has of a generation; nil if it
// has none that can be opened.
func (e *Engine) storedKey(j job, number int) ([]byte, error) {
	sealed, ok, err := e.Store.Key(j.Certificate, number)
	if err != nil || !ok {
		return nil, err
	}
	text, ok, err := e.Keys.Open(j.Certificate, number, sealed)
	if err == nil && !ok {
		e.Log.Warn("the sealed key in the inventory cannot be opened", "certificate", j.Certificate, "generation", number)
	}
	return text, err
}

// readBack reads the key of a generation from one of the certificate's hosts, where
// it is placed or was before. errKeyLost means that all were asked and none has it.
func (e *Engine) readBack(ctx context.Context, j job, g *renewer.Generation) ([]byte, error) {
	var failed error
	for _, p := range j.cert.Placements {
		host, ok := j.fleet.Hosts[p.Host]
		if !ok {
			continue
		}
		st := j.placements[p.Host]
		dirs := append([]string{p.Dir}, st.Dirs...)
		for _, name := range append([]string{p.Certificate}, st.Names...) {
			for _, dir := range dirs {
				p.Certificate, p.Dir = name, dir
				revision, ok, err := host.Locate(ctx, p, g.Fingerprint)
				if err == nil && ok {
					var text []byte
					if text, err = host.ReadKey(ctx, p, revision); err == nil {
						return text, nil
					}
				}
				if err != nil {
					failed = fmt.Errorf("read the key of generation %d back from %s: %w", g.Number, p.Host, err)
				}
			}
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("generation %d: %w", g.Number, errKeyLost)
}

// madeKeys holds the private keys that this process made for rollouts under
// way, by rollout.
type madeKeys struct {
	mu   sync.Mutex
	keys map[string]signer
}

func (m *madeKeys) get(rollout string) signer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys[rollout]
}

func (m *madeKeys) put(rollout string, key signer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil {
		m.keys = map[string]signer{}
	}
	m.keys[rollout] = key
}

func (m *madeKeys) drop(rollout string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, rollout)
}
