package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// List implements server.Service: from the index, without a record, an issuer
// or a host being touched.
func (a *App) List(_ context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error {
	if err := a.knows(f); err != nil {
		return err
	}
	return list(withOrphans(a.store, a.stays, a.rows), f, yield)
}

// knows refuses a host or issuer that nothing is known of: an empty list would
// pass for good news. An issuer that left the fleet file may have signed what is
// in place.
func (a *App) knows(f renewer.ListFilter) error {
	fleet := a.parts.Load().fleet
	if f.Host != "" && !a.hasHost(f.Host) {
		return noHost(fleet, f.Host)
	}
	if _, ok := fleet.Issuer(f.Issuer); f.Issuer == "" || ok {
		return nil
	}
	signed := false
	err := a.rows(time.Time{}, func(row renewer.Row) bool {
		signed = row.Issuer == f.Issuer
		return !signed
	})
	if err != nil || signed {
		return err
	}
	return noIssuer(fleet, f.Issuer)
}

// unknown marks an error about a name that does not exist; nil stays nil.
func unknown(err error) error {
	if err == nil {
		return nil
	}
	return &renewer.Error{Class: renewer.ClassUnknown, Err: err}
}

// noHost and noIssuer say that the fleet file has none of that name, and which is the
// nearest.
func noHost(fleet *configs.Fleet, name string) error {
	return none(fleet, "host", name, fleet.HostNames())
}

func noIssuer(fleet *configs.Fleet, name string) error {
	return none(fleet, "issuer", name, names(fleet.Issuers))
}

func none(fleet *configs.Fleet, kind, name string, valid []string) error {
	return unknown(renewer.WithHint(fmt.Errorf("%s has no %s %q", fleet.Path, kind, name), configs.Suggest(name, valid)))
}

// pick returns the full names that names stand for.
func (a *App) pick(names ...string) ([]string, error) {
	full, err := a.parts.Load().fleet.Select(names...)
	return full, unknown(err)
}

// rows is what every list, page and metric is made of: the inventory's rows of
// the certificates in the fleet file, as Store.Rows gives them, and without a
// limit also those that the inventory does not have yet.
func (a *App) rows(until time.Time, yield func(renewer.Row) bool) error {
	fleet, more, waiting := a.parts.Load().fleet, true, a.eng.Standing().Waiting
	listed, missing := make([]bool, len(fleet.Certificates)), len(fleet.Certificates)
	var failed error
	err := a.store.Rows(until, func(row renewer.Row) bool {
		if i, ok := fleet.Index(row.Name); ok {
			listed[i] = true
			missing--
			if row.Status == renewer.StatusRenewing {
				row.Gate = waiting[row.Name].Gate()
			}
			more = yield(row)
		} else if left, ok, err := a.leaving(row.Name); err != nil {
			failed, more = err, false
		} else if ok {
			more = yield(left)
		}
		return more
	})
	if err = errors.Join(err, failed); err != nil || !until.IsZero() || missing == 0 {
		return err
	}
	for i, c := range fleet.Certificates {
		if more && !listed[i] {
			more = yield(renewer.NewRow(c, renewer.Record{Name: c.Name}, nil))
		}
	}
	return nil
}

// known is one certificate with what the inventory has of it.
type known struct {
	cert    renewer.Certificate
	rec     renewer.Record
	current *renewer.Generation
	rolling *renewer.Generation
}

func (a *App) known(name string) (known, error) {
	fleet := a.parts.Load().fleet
	k := known{rec: renewer.Record{Name: name}}
	var ok bool
	if k.cert, ok = fleet.Certificate(name); !ok {
		_, err := a.pick(name) // says which is the nearest
		return k, err
	}
	rec, found, err := a.store.Record(name)
	if err != nil {
		return k, err
	}
	if found {
		k.rec = rec
		k.rec.Rejoin(k.cert, time.Now())
	}
	if k.current, err = a.generation(name, rec.Current); err != nil {
		return k, err
	}
	if rec.Rollout != nil {
		if number, ok := rec.Rollout.Delivers(); ok {
			k.rolling, err = a.generation(name, number)
		}
	}
	return k, err
}

func (a *App) generation(name string, n int) (*renewer.Generation, error) {
	g, ok, err := a.store.Generation(name, n)
	if err != nil || !ok {
		return nil, err
	}
	return &g, nil
}

// Show implements server.Service.
func (a *App) Show(ctx context.Context, name string) (renewer.Detail, error) {
	full, err := a.pick(name)
	if err != nil {
		if d, ok, failed := a.orphan(name); ok || failed != nil {
			return d, failed
		}
		return renewer.Detail{}, err
	}
	if len(full) != 1 {
		return renewer.Detail{}, unknown(renewer.WithHint(fmt.Errorf("%s stands for %d certificates", name, len(full)), "name one of "+strings.Join(full, ", ")))
	}
	waiting, err := a.eng.Waiting(ctx)
	if err != nil {
		return renewer.Detail{}, err
	}
	return a.show(ctx, full[0], waiting)
}

func (a *App) show(ctx context.Context, name string, waiting map[string]renewer.Waits) (renewer.Detail, error) {
	k, err := a.known(name)
	if err != nil {
		return renewer.Detail{}, err
	}
	shown := k.rec.Shown(k.current, k.rolling)
	if k.cert.IsBundle() {
		shown = &renewer.Generation{NotAfter: pki.EarliestEnd(a.rootsOf(ctx, k.cert.Trust))}
	}
	gens, err := a.store.Generations(name)
	if err != nil {
		return renewer.Detail{}, err
	}
	now := time.Now()
	d, err := renewer.NewDetail(k.cert, k.rec, shown, gens, waiting[name], now)
	if tolerates, ok := d.Tolerance(a.parts.Load().fleet.RolloutTime(k.cert), now); ok {
		seconds := tolerates.Truncate(time.Second).Seconds()
		d.Tolerates = &seconds
	}
	return d, err
}

func (a *App) rootsOf(ctx context.Context, issuers []string) (roots []*x509.Certificate) {
	p := a.parts.Load()
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, name := range issuers {
		more, err := p.issuers[name].Roots(ctx)
		if err != nil {
			return nil // the trust is not known: nothing is compared with it
		}
		roots = append(roots, more...)
	}
	return roots
}

// Status implements server.Service.
func (a *App) Status(ctx context.Context) (renewer.SystemStatus, error) {
	if a.daemon.Load() == nil {
		a.health.ask(ctx, a.parts.Load())
		for _, is := range a.parts.Load().fleet.Issuers {
			a.lookAtRotation(ctx, is)
		}
	}
	st, err := a.system()
	if err != nil {
		return st, err
	}
	waiting, err := a.eng.Waiting(ctx)
	if err != nil {
		return st, err
	}
	now := time.Now()
	worst := map[renewer.Severity][]renewer.Row{}
	err = a.List(ctx, renewer.ListFilter{}, func(row renewer.Row) error {
		st.Counts[row.Status]++
		if s := row.Severity(now); s != "" {
			st.MoreProblems++
			if len(worst[s]) < renewer.MostProblems {
				worst[s] = append(worst[s], row)
			}
		}
		if row.Status != renewer.StatusBlocked && row.Status != renewer.StatusRenewing && row.Status != renewer.StatusPending && row.Status != renewer.StatusExpired && row.Status != renewer.StatusRevoked {
			return nil
		}
		v, err := a.rollout(row.Name, waiting)
		if v != nil {
			st.Rollouts = append(st.Rollouts, *v)
		}
		return err
	})
	if err != nil {
		return st, err
	}
	var certificates []renewer.Problem
	for _, row := range append(worst[renewer.SeverityCritical], worst[renewer.SeverityWarning]...) {
		d, _, err := a.detail(ctx, row.Name, waiting)
		if err != nil {
			return st, err
		}
		if p, ok := d.Problem(now); ok && len(certificates) < renewer.MostProblems { // it may be right by now
			certificates = append(certificates, p)
		}
	}
	st.MoreProblems -= len(certificates)
	st.Problems = renewer.Problems(st, certificates, now)
	return st, nil
}

// rollout returns the rollout of a certificate as it is shown; nil if there is none.
func (a *App) rollout(name string, waiting map[string]renewer.Waits) (*renewer.RolloutView, error) {
	rec, ok, err := a.store.Record(name)
	if err != nil || !ok || rec.Rollout == nil {
		return nil, err
	}
	current, err := a.generation(name, rec.Current)
	return rec.View(current, waiting[name]), err
}
