package engine

import (
	"context"
	"crypto"
	"errors"
	"fmt"
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
	out := renewer.Outcome{Action: j.Action}
	host, err := j.host()
	if err != nil {
		out.Err = err
		return out
	}
	staged, trust, err := e.stageOn(ctx, j, host)
	if err != nil {
		out.Err = fmt.Errorf("stage %s on %s: %w", j.Certificate, j.Host, err)
		out.KeyLost = errors.Is(err, errKeyLost)
		return out
	}
	out.Revision, out.Previous, out.Live = staged.Revision, staged.Previous, staged.Live
	out.Layout, out.Trust = j.placement.Layout(), trust
	if out.Live && out.Previous == "" {
		out.Previous = j.state.Revision
	}
	return out
}

func (e *Engine) stageOn(ctx context.Context, j job, host Host) (s Staged, trust string, err error) {
	if j.rollout.Kind == renewer.KindRollback {
		return locate(ctx, j, host)
	}
	var chain renewer.Chain
	var key signer
	if !j.cert.IsBundle() {
		if j.gen == nil {
			return s, "", fmt.Errorf("generation %d is not in the inventory", j.rollout.Generation)
		}
		if chain, err = j.gen.Parse(); err != nil {
			return s, "", err
		}
		if key, err = e.keyOf(ctx, j); err != nil {
			return s, "", err
		}
	}
	roots, err := j.roots.need(ctx, j.fleet.Issuers, j.trust...)
	if err != nil {
		return s, "", err
	}
	if _, ok := j.placement.Files[renewer.FileCA]; ok {
		trust = pki.TrustDigest(roots)
	}
	content, err := pki.Content(j.placement.Files, chain, key, roots)
	if err != nil {
		return s, "", err
	}
	if kind := j.placement.Activate.Kind; chain.Leaf != nil && (kind == renewer.ActivateSystemd || kind == renewer.ActivateDocker) {
		clock, err := host.Clock(ctx)
		if err != nil {
			return s, "", err
		}
		if err := pki.Preflight(j.placement, chain.Leaf, clock); err != nil {
			return s, "", err
		}
	}
	s, err = host.Stage(ctx, j.placement, content)
	return s, trust, err
}

// locate finds the revision of an earlier generation on the host.
func locate(ctx context.Context, j job, host Host) (s Staged, trust string, err error) {
	if j.gen == nil {
		return s, "", fmt.Errorf("generation %d is not in the inventory", j.rollout.Generation)
	}
	revision, ok, err := host.Locate(ctx, j.placement, j.gen.Fingerprint)
	if err != nil {
		return s, "", err
	}
	if !ok {
		return s, "", renewer.WithHint(fmt.Errorf("%s no longer has generation %d", j.Host, j.gen.Number), "renewer renew "+j.Certificate)
	}
	disk, err := host.Inspect(ctx, j.placement)
	if err != nil {
		return s, "", err
	}
	for _, r := range j.state.Revisions {
		if r.Name == revision {
			trust = r.Trust
		}
	}
	return Staged{Revision: revision, Previous: disk.Revision, Live: disk.Revision == revision}, trust, nil
}

// keyOf returns the private key of the generation: as it was made in this
// process, from the inventory while that has it, or from a host.
func (e *Engine) keyOf(ctx context.Context, j job) (signer, error) {
	if key := e.made.get(j.rollout.ID); key != nil {
		return key, nil
	}
	text, err := e.storedKey(j)
	if err == nil && text == nil {
		text, err = e.readBack(ctx, j, j.gen)
	}
	if err != nil {
		return nil, err
	}
	return pki.DecodeKey(text)
}

// storedKey opens the key that the inventory has of the generation; nil if it
// has none that can be opened.
func (e *Engine) storedKey(j job) ([]byte, error) {
	sealed, ok, err := e.Store.Key(j.Certificate, j.gen.Number)
	if err != nil || !ok {
		return nil, err
	}
	text, ok, err := e.Keys.Open(j.Certificate, j.gen.Number, sealed)
	if err == nil && !ok {
		e.Log.Warn("the sealed key in the inventory cannot be opened; looking for it on the hosts", "certificate", j.Certificate, "generation", j.gen.Number)
	}
	return text, err
}

// readBack reads the key of a generation from one of the certificate's hosts.
// errKeyLost means that all were asked and none has it.
func (e *Engine) readBack(ctx context.Context, j job, g *renewer.Generation) ([]byte, error) {
	var failed error
	for _, p := range j.cert.Placements {
		host, ok := j.fleet.Hosts[p.Host]
		if !ok {
			continue
		}
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
