package daemon

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
	"renewer/renewer/server/page"
)

// mostRollouts is how many of the rollouts under way the status page shows.
const mostRollouts = 20

// pages is what the status page shows of an App.
type pages struct {
	*App
	matrix *atomic.Pointer[renewer.Trust] // as it was last shown
}

func newPages(a *App) pages { return pages{a, &atomic.Pointer[renewer.Trust]{}} }

// matrixWithin is how long a page waits for the matrix before it shows that of
// before: the loop may be at work on a whole fleet.
const matrixWithin = time.Second

// Trust implements page.Source.
func (p pages) Trust(ctx context.Context) (renewer.Trust, error) {
	ctx, cancel := context.WithTimeout(ctx, matrixWithin)
	defer cancel()
	t, err := p.App.Trust(ctx, renewer.TrustRequest{Brief: true})
	if last := p.matrix.Load(); err != nil && last != nil {
		return *last, nil
	}
	if err == nil {
		p.matrix.Store(&t)
	}
	return t, err
}

var _ page.Source = pages{}

// System implements page.Source: nobody is asked, no list is walked over, and
// the engine's loop is not waited for.
func (p pages) System(context.Context) (renewer.SystemStatus, error) {
	st, err := p.system()
	if err != nil {
		return st, err
	}
	names, err := p.store.Open()
	if err != nil {
		return st, err
	}
	waiting := p.eng.Standing().Waiting
	for _, name := range names[:min(len(names), mostRollouts)] {
		v, err := p.rollout(name, waiting)
		if err != nil {
			return st, err
		}
		if v != nil {
			st.Rollouts = append(st.Rollouts, *v)
		}
	}
	return st, nil
}

// Show implements page.Source.
func (p pages) Show(ctx context.Context, name string) (d renewer.Detail, ok bool, err error) {
	if _, ok := p.parts.Load().fleet.Certificate(name); !ok {
		return p.orphan(name)
	}
	d, err = p.show(ctx, name, p.eng.Standing().Waiting)
	return d, err == nil, err
}

// system is the part of the status that is known without a look at the
// certificates.
func (a *App) system() (renewer.SystemStatus, error) {
	p := a.parts.Load()
	st := renewer.SystemStatus{Keeper: a.me(), Rollouts: []renewer.RolloutView{}, Problems: []renewer.Problem{}, Counts: map[renewer.Status]int{}}
	if d := a.daemon.Load(); d != nil {
		st.Daemon = *d
		now := a.eng.Standing()
		st.Daemon.LastCheck, st.Daemon.LastProbe, st.Daemon.NextDue = now.LastCheck, now.LastProbe, now.NextDue
		st.Daemon.NextCheck = p.fleet.Schedule.Check.Next(time.Now().UTC())
		st.Daemon.Page = pageOf(p.fleet)
	}
	st.Daemon.Version, st.Daemon.FleetFile, st.Daemon.Fleet = a.opts.Version, p.fleet.Path, fleetName(p.fleet)
	st.Issuers = a.issuerStatuses()
	_, st.Hosts = a.health.all()
	var err error
	st.Channels, err = a.notifier.Status()
	return st, err
}

// fleetName is the name of a fleet in messages, metrics and page titles: that of the fleet
// file, or else of this host.
func fleetName(fleet *configs.Fleet) string { return cmp.Or(fleet.Name, hostName()) }

// hostName is the name of this machine, without its domain.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// pageOf is where the status page can be reached: at external_url, or else at the address
// that it listens on, by this machine's name where that is every address. Empty: nowhere.
func pageOf(fleet *configs.Fleet) string {
	if fleet.HTTP.ExternalURL != "" {
		return fleet.HTTP.ExternalURL
	}
	host, port, err := net.SplitHostPort(fleet.HTTP.Listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = hostName()
	}
	scheme := "http://"
	if fleet.HTTP.WebConfig != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// CheckPort reads the web_config file of a fleet file, if it names one.
func CheckPort(fleet *configs.Fleet) error {
	if !filepath.IsAbs(fleet.HTTP.WebConfig) { // none, or in a directory that systemd makes for the daemon alone
		return nil
	}
	return port(fleet).Check()
}

func port(fleet *configs.Fleet) server.Port {
	return server.Port{Listen: fleet.HTTP.Listen, WebConfig: fleet.HTTP.WebConfig, AllowUnauthenticated: fleet.HTTP.AllowUnauthenticated}
}
