package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/configs"
	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/server"
)

// thisMachine tells one machine from another (machine-id(5)); empty where it has no
// such number, as in most containers.
func thisMachine() string {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		text, err := os.ReadFile(file)
		id := strings.TrimSpace(string(text))
		if err == nil && id != "" && id != "uninitialized" {
			sum := sha256.Sum256([]byte("renewer " + id)) // the number itself is not for others
			return hex.EncodeToString(sum[:8])
		}
	}
	return ""
}

// nameOf names the renewer of a state directory for people.
func nameOf(stateDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + stateDir
}

// identify reads which renewer this is from the inventory.
func (a *App) identify(stateDir string) error {
	m, err := a.inv.Identity()
	if err != nil {
		return err
	}
	m.Name = nameOf(stateDir)
	a.mark.Store(&m)
	return nil
}

func (a *App) me() renewer.Mark { return *a.mark.Load() }

// keepers are what a host can say and do about who keeps its directories.
type keepers interface {
	Keeper(ctx context.Context, p renewer.Placement) (*renewer.Mark, error)
	TakeOver(ctx context.Context, p renewer.Placement) (*renewer.Mark, error)
}

// directories returns one placement for each directory of a host; of all for an
// empty name.
func directories(fleet *configs.Fleet, host string) (out []renewer.Placement) {
	seen := map[[2]string]bool{}
	for _, c := range fleet.Certificates {
		for _, p := range c.Placements {
			if key := [2]string{p.Host, p.Dir}; !seen[key] && (host == "" || p.Host == host) {
				seen[key] = true
				out = append(out, p)
			}
		}
	}
	return out
}

// each asks the hosts of placements, several at once.
func (p *parts) each(ctx context.Context, of []renewer.Placement, ask func(ctx context.Context, n int, h keepers)) {
	var g errgroup.Group
	g.SetLimit(8)
	for n, pl := range of {
		if h, ok := p.hosts[pl.Host].(keepers); ok {
			g.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, healthTimeout)
				defer cancel()
				ask(ctx, n, h)
				return nil
			})
		}
	}
	_ = g.Wait() // nothing of it fails
}

// TakeOver implements server.Service. Where all are taken over, the term is raised
// first: hosts that cannot be reached now are taken over when they can be.
func (a *App) TakeOver(ctx context.Context, host string) ([]renewer.TakenOver, error) {
	parts := a.parts.Load()
	if _, ok := parts.fleet.Host(host); host != "" && !ok {
		return nil, noHost(parts.fleet, host)
	}
	if err := a.requested(ctx, renewer.Event{Host: host, Message: "take-over"}); err != nil {
		return nil, err
	}
	dirs := directories(parts.fleet, host)
	if host == "" {
		if err := a.raise(ctx, parts, dirs); err != nil {
			return nil, err
		}
	}
	out := make([]renewer.TakenOver, len(dirs))
	parts.each(ctx, dirs, func(ctx context.Context, n int, h keepers) {
		t := renewer.TakenOver{Host: dirs[n].Host, Dir: dirs[n].Dir}
		was, err := h.TakeOver(ctx, dirs[n])
		if err != nil {
			t.Error, t.Hint = err.Error(), renewer.Hint(err)
		} else if was != nil {
			t.From = was.String()
		}
		out[n] = t
	})
	var events []renewer.Event
	for _, t := range out {
		if t.From != "" {
			events = append(events, renewer.Event{
				Time: time.Now(), Type: renewer.EventTakenOver, Host: t.Host, Message: t.Dir + " was kept by " + t.From + "; requested by operator",
			})
		}
	}
	if len(events) > 0 {
		if _, err := a.store.Commit(ctx, engine.Change{Events: events}); err != nil {
			return out, err
		}
	}
	if a.daemon.Load() == nil {
		return out, nil
	}
	return out, a.eng.SetFleet(ctx, a.engineFleet(), engine.Again) // what was refused goes on
}

func (a *App) raise(ctx context.Context, parts *parts, dirs []renewer.Placement) error {
	terms := make([]int, len(dirs))
	parts.each(ctx, dirs, func(ctx context.Context, n int, h keepers) {
		terms[n] = -1
		_, err := h.Keeper(ctx, dirs[n])
		var kept *renewer.KeptError
		if errors.As(err, &kept) && kept.Keeper.Fleet == kept.Me.Fleet {
			terms[n] = kept.Keeper.Term
		}
	})
	most := slices.Max(append(terms, -1))
	if most < 0 {
		return nil
	}
	if err := a.inv.RaiseTerm(most); err != nil {
		return err
	}
	return a.identify(parts.fleet.StateDir)
}

// keeperFindings say which renewer keeps the directories of a host. known is false
// where it is not known which one this is.
func (p *parts) keeperFindings(ctx context.Context, dirs []renewer.Placement, known bool) []renewer.Finding {
	found := make([]renewer.Finding, len(dirs))
	p.each(ctx, dirs, func(ctx context.Context, n int, h keepers) {
		f := renewer.Finding{Check: "keeper", Host: dirs[n].Host, Level: renewer.FindingOK, Text: "this renewer keeps " + dirs[n].Dir}
		mark, err := h.Keeper(ctx, dirs[n])
		var kept *renewer.KeptError
		switch {
		case errors.As(err, &kept) && !known:
			f.Level, f.Text = renewer.FindingWarn, dirs[n].Dir+" is kept by "+kept.Keeper.String()
			f.Fix = "run the command where that renewer's state is, to see whether it is this one"
		case kept != nil:
			f.Level, f.Text, f.Fix = renewer.FindingFail, kept.Error(), kept.Hint()
		case err != nil:
			return // other checks say what is wrong with the host
		case mark == nil:
			f.Text = "no renewer keeps " + dirs[n].Dir + " yet"
		}
		found[n] = f
	})
	return slices.DeleteFunc(found, func(f renewer.Finding) bool { return f.Check == "" })
}

// whoIs returns which renewer a fleet file is that of: by the inventory, or by the
// daemon that has it open.
func whoIs(ctx context.Context, fleet *configs.Fleet) (m renewer.Mark, ok bool) {
	if d, err := server.Dial(fleet.Socket, func() string { return fleet.StateDir }); err == nil {
		st, err := d.Status(ctx)
		return st.Keeper, err == nil && st.Keeper.Fleet != ""
	}
	inv, err := inventory.Open(filepath.Join(fleet.StateDir, "inventory.db"), inventory.Options{ReadOnly: true, Machine: thisMachine()})
	if err != nil {
		return m, false
	}
	m, err = inv.Identity()
	if err = cmp.Or(err, inv.Close()); err != nil || m.Fleet == "" {
		return m, false
	}
	m.Name = nameOf(fleet.StateDir)
	return m, true
}
