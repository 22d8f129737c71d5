package daemon

import (
	"cmp"
	"slices"
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
func (a *App) orphans() ([]renewer.Row, error) { return orphansOf(a.store, time.Now()) }

func orphansOf(store departures, now time.Time) (rows []renewer.Row, err error) {
	left, err := store.Departed()
	if err != nil {
		return nil, err
	}
	for name, list := range left {
		list = slices.DeleteFunc(list, func(d renewer.Departed) bool { return !now.Before(d.NotAfter) })
		if len(list) == 0 {
			continue
		}
		first := slices.MinFunc(list, func(x, y renewer.Departed) int { return x.NotAfter.Compare(y.NotAfter) })
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
	slices.SortFunc(rows, func(x, y renewer.Row) int { return cmp.Or(x.NotAfter.Compare(y.NotAfter), cmp.Compare(x.Name, y.Name)) })
	return rows, nil
}

// withOrphans is rows with those of what left the fleet file among them, in the
// same order.
func withOrphans(store departures, rows func(time.Time, func(renewer.Row) bool) error) func(time.Time, func(renewer.Row) bool) error {
	return func(until time.Time, yield func(renewer.Row) bool) error {
		left, err := orphansOf(store, time.Now())
		if err != nil {
			return err
		}
		more := true
		upTo := func(t time.Time) {
			for more && len(left) > 0 && (t.IsZero() || left[0].NotAfter.Before(t)) {
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
