package daemon

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// departures is the part of the inventory that has what left the fleet file.
type departures interface {
	Departed() (map[string][]renewer.Departed, error)
	Generation(name string, number int) (renewer.Generation, bool, error)
}

// orphans are the rows of what left the fleet file and has not expired, soonest
// expiry first.
func (a *App) orphans() ([]renewer.Row, error) {
	rows, err := orphansOf(a.store, a.stays, time.Now())
	if err != nil {
		return nil, err
	}
	names, err := a.store.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if a.stays(name) {
			continue
		}
		row, ok, err := a.leaving(name)
		if err != nil {
			return nil, err
		}
		if ok {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// departed are the placements of the certificates that left the fleet file.
func (a *App) departed() (map[string][]renewer.Departed, error) {
	all, err := a.store.Departed()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ []renewer.Departed) bool { return a.stays(name) })
	names, err := a.store.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if a.stays(name) {
			continue
		}
		if all[name], _, err = a.left(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// left are the placements of a certificate that is no longer in the fleet file and that
// no pass has recorded as orphaned yet, with the generation of the first.
func (a *App) left(name string) (left []renewer.Departed, first *renewer.Generation, err error) {
	rec, found, err := a.store.Record(name)
	if err != nil || !found {
		return nil, nil, err
	}
	find := func(number int) *renewer.Generation {
		g, failed := a.generation(name, number)
		err = errors.Join(err, failed)
		return g
	}
	retired := a.parts.Load().fleet.Retired()
	left = rec.Departures(renewer.Certificate{Name: name}, find, func(host string) bool { return slices.Contains(retired, host) }, time.Now())
	if len(left) > 0 {
		first = find(left[0].Generation)
	}
	return left, first, err
}

// leaving is the row of a certificate that is no longer in the fleet file and
// that no pass has recorded as orphaned yet; ok is false where nothing of it is
// in place.
func (a *App) leaving(name string) (row renewer.Row, ok bool, err error) {
	left, first, err := a.left(name)
	if err != nil || len(left) == 0 {
		return row, false, err
	}
	return renewer.OrphanRow(name, left, first), true, nil
}

// stays reports whether a certificate is in the fleet file, and so no orphan
// whatever the inventory says.
func (a *App) stays(name string) bool {
	_, ok := a.parts.Load().fleet.Index(name)
	return ok
}

func orphansOf(store departures, stays func(string) bool, now time.Time) (rows []renewer.Row, err error) {
	left, err := store.Departed()
	if err != nil {
		return nil, err
	}
	for name, list := range left {
		list = slices.DeleteFunc(list, func(d renewer.Departed) bool { return d.Over(now) })
		if len(list) == 0 || stays(name) {
			continue
		}
		first := slices.MinFunc(list, func(x, y renewer.Departed) int { return ends(x.NotAfter, y.NotAfter) })
		g, ok, err := store.Generation(name, first.Generation)
		if err != nil {
			return nil, err
		}
		if known := &g; !ok || !g.NotAfter.Equal(first.NotAfter) {
			rows = append(rows, renewer.OrphanRow(name, list, nil))
		} else {
			rows = append(rows, renewer.OrphanRow(name, list, known))
		}
	}
	slices.SortFunc(rows, func(x, y renewer.Row) int { return cmp.Or(ends(x.NotAfter, y.NotAfter), cmp.Compare(x.Name, y.Name)) })
	return rows, nil
}

// ends compares times of which zero is none, and so the last.
func ends(x, y time.Time) int {
	if x.IsZero() || y.IsZero() {
		return y.Compare(x)
	}
	return x.Compare(y)
}

// withOrphans is rows with those of what left the fleet file among them, in the
// same order.
func withOrphans(store departures, stays func(string) bool, rows func(time.Time, func(renewer.Row) bool) error) func(time.Time, func(renewer.Row) bool) error {
	return func(until time.Time, yield func(renewer.Row) bool) error {
		left, err := orphansOf(store, stays, time.Now())
		if err != nil {
			return err
		}
		more := true
		upTo := func(t time.Time) {
			for more && len(left) > 0 && (t.IsZero() || ends(left[0].NotAfter, t) < 0) {
				more, left = yield(left[0]), left[1:]
			}
		}
		err = rows(until, func(row renewer.Row) bool {
			if upTo(row.NotAfter); more {
				more = yield(row)
			}
			return more
		})
		if err == nil {
			upTo(until)
		}
		return err
	}
}

// orphan is what is known of a certificate that left the fleet file; ok is false
// if there is none of that name.
func (a *App) orphan(name string) (d renewer.Detail, ok bool, err error) {
	left, err := a.orphans()
	i := slices.IndexFunc(left, func(r renewer.Row) bool { return r.Name == name })
	if err != nil || i < 0 {
		return d, false, err
	}
	row := left[i]
	gens, err := a.store.Generations(name)
	if err != nil {
		return d, false, err
	}
	var shown *renewer.Generation
	if at := slices.IndexFunc(gens, func(g renewer.Generation) bool { return g.Number == row.Generation }); at >= 0 {
		shown = &gens[at]
	}
	entry, _, _ := strings.Cut(name, "@")
	c := renewer.Certificate{Name: name, Entry: entry, Issuer: row.Issuer, Usages: []renewer.Usage{}}
	if shown != nil {
		c.Usages, c.Profile = shown.Usages, shown.Request.Profile
	}
	d, err = renewer.NewDetail(c, renewer.Record{Name: name, Current: row.Generation}, shown, gens, nil, time.Now())
	d.Row, d.Hint = row, "left the fleet file; to stop listing it: renewer forget "+name
	for _, h := range row.Hosts {
		d.Placements = append(d.Placements, renewer.PlacementView{HostRow: h})
	}
	return d, err == nil, err
}
