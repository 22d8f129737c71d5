package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"renewer/renewer"
)

// Restoring reports whether what a host had before is being put back there, and that
// fails: it is tried once more, at once, and the next try is a while away.
func (e *Engine) Restoring(ctx context.Context, name, host string) (stuck bool, err error) {
	err = e.try(ctx, func() error {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			return nil
		}
		en, _, err := e.load(name, c)
		if err == nil && en.open() && en.rec.Rollout.Restoring() && e.entries[name] == nil {
			e.keep(en) // begun before this process
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if err := e.await(ctx, []string{name}, (*renewer.Rollout).Restoring, nil); err != nil {
		return false, err
	}
	err = e.do(ctx, func() {
		if en, open := e.entries[name]; open && !e.working(en.rec.Rollout) {
			s, ok := en.rec.Rollout.Step(host)
			stuck = ok && s.State == renewer.StepRestoring && s.Attempts > 0
		}
	})
	return stuck, err
}

// Resume has that tried again at once, and returns when it has ended: nil where what
// the host had before is served again.
func (e *Engine) Resume(ctx context.Context, name, host string, progress func(renewer.Event)) error {
	err := e.await(ctx, []string{name}, func(r *renewer.Rollout) bool { return r != nil && !r.Settled() }, progress)
	if err != nil {
		return fmt.Errorf("restore %s on %s: %w", name, host, renewer.AtHost(host, err))
	}
	rec, _, err := e.Store.Record(name)
	if st := rec.Placements[host]; err == nil && st.State != renewer.HostRolledBack && st.State != renewer.HostVerified {
		err = renewer.WithHint(errors.New(cmp.Or(st.Error, "it is "+string(st.State))), st.Hint)
	}
	if err != nil {
		return fmt.Errorf("restore %s on %s: %w", name, host, renewer.AtHost(host, err))
	}
	return nil
}

// Place brings a certificate to a host that is being set up, and to no other,
// without a word to the service that will use it; it issues it first where
// that is needed. It does nothing where the host has it, unless its files were
// looked at and are lost: the host was installed again. An error says that the
// files are not in place.
func (e *Engine) Place(ctx context.Context, name, host string, lost bool, progress func(renewer.Event)) error {
	atWork := func(r *renewer.Rollout) bool { return r != nil && (!r.Settled() || e.working(r)) }
	if err := e.await(ctx, []string{name}, atWork, progress); err != nil {
		return fmt.Errorf("place %s on %s: %w", name, host, renewer.AtHost(host, err))
	}
	there := false
	if err := e.do(ctx, func() {
		if c, ok := e.fleet.Certificate(name); ok {
			if en, _, err := e.load(name, c); err == nil {
				st := en.rec.Placements[host]
				there = !lost && st.Revision != "" && en.rec.InPlace() && st.Generation == en.rec.Current
			}
		}
	}); err != nil || there {
		return err
	}
	w := newWatcher()
	w.alone = true
	err := e.try(ctx, func() error {
		return e.ask([]string{name}, w, func(name string) (pending, error) {
			c, _ := e.fleet.Certificate(name)
			en, _, err := e.load(name, c)
			if err != nil {
				return pending{}, err
			}
			return e.replace(name, renewer.Replaced{Why: "its host is being set up", With: renewer.SetUp(c, e.observed(en), host, lost, e.Now())})
		})
	})
	var result renewer.RunResult
	if err == nil {
		result, err = w.wait(ctx, progress)
	}
	if err != nil {
		return fmt.Errorf("place %s on %s: %w", name, host, renewer.AtHost(host, err))
	}
	for _, r := range result.Rollouts {
		if r.Result == renewer.ResultVerified {
			return nil
		}
		err = renewer.WithHint(errors.New(cmp.Or(r.Error, r.Waiting.String())), r.Hint)
	}
	if err == nil {
		err = renewer.WithHint(errors.New("another rollout replaced it"), "see it: renewer status; then repeat the command")
	}
	return fmt.Errorf("place %s on %s: %w", name, host, renewer.AtHost(host, err))
}
