package daemon

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/forecast"
	"renewer/renewer/server"
	"renewer/renewer/server/page"
)

// The status page shows the rollouts under way of so many entries of the fleet
// file, and reads so many of each; it counts the others by their certificates.
const (
	mostEntries  = 20
	mostRollouts = 10
)

// ofEntries returns the names of certificates to look at: few of many entries
// rather than all of one.
func ofEntries(names []string) (out []string) {
	count := map[string]int{}
	for _, name := range names {
		entry, _, _ := strings.Cut(name, "@")
		if count[entry] == 0 && len(count) == mostEntries {
			continue
		}
		if count[entry]++; count[entry] <= mostRollouts {
			out = append(out, name)
		}
	}
	return out
}

// pages is what the status page shows of an App.
type pages struct {
	*App
	matrix *atomic.Pointer[renewer.Trust] // as it was last shown
	ahead  *outlook
}

// outlook is the forecast that was last played.
type outlook struct {
	playing sync.Mutex
	tried   time.Time // under playing
	last    atomic.Pointer[forecast.Forecast]
}

// The forecast on the page may be so old. Where the loop is at work on a whole fleet
// there is none for now, and pages do not wait for it again soon: after a start, when there
// is none to show, sooner.
const (
	playEvery  = 10 * time.Minute
	playWithin = 200 * time.Millisecond
	playAgain  = time.Minute
	playFirst  = 5 * time.Second
)

func newPages(a *App) pages { return pages{a, &atomic.Pointer[renewer.Trust]{}, &outlook{}} }

// Forecast implements page.Source. One reader waits for it to be played, and others
// get the one before meanwhile.
func (p pages) Forecast(ctx context.Context) (forecast.Forecast, error) {
	last := p.ahead.last.Load()
	if last == nil {
		last = &forecast.Forecast{}
	}
	if time.Since(last.From) < playEvery || !p.ahead.playing.TryLock() {
		return *last, nil
	}
	defer p.ahead.playing.Unlock()
	again := playAgain
	if last.From.IsZero() {
		again = playFirst
	}
	if time.Since(p.ahead.tried) < again {
		return *last, nil
	}
	p.ahead.tried = time.Now()
	ctx, cancel := context.WithTimeout(ctx, playWithin)
	defer cancel()
	f, err := p.App.Forecast(ctx, forecast.Request{For: page.Ahead})
	if err != nil {
		return *last, nil // the page is shown without it
	}
	p.ahead.last.Store(&f)
	return f, nil
}

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

// System implements page.Source. It contacts no host or issuer, reads no list and
// does not wait for the engine's loop.
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
	for _, name := range ofEntries(names) {
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
	return p.detail(ctx, name, p.eng.Standing().Waiting)
}

// detail returns one certificate by its full name, also one that left the fleet file.
func (a *App) detail(ctx context.Context, name string, waiting map[string]renewer.Waits) (d renewer.Detail, ok bool, err error) {
	if !a.stays(name) {
		return a.orphan(name)
	}
	d, err = a.show(ctx, name, waiting)
	return d, err == nil, err
}

// system is the part of the status that is known without a look at the
// certificates.
func (a *App) system() (renewer.SystemStatus, error) {
	p := a.parts.Load()
	st := renewer.SystemStatus{Daemon: a.daemonStatus(), Keeper: a.me(), Rollouts: []renewer.RolloutView{}, Problems: []renewer.Problem{}, Counts: map[renewer.Status]int{}}
	if st.Daemon.Running {
		st.Daemon.NextCheck = p.fleet.Schedule.Check.Next(time.Now().UTC())
		st.Daemon.Page = PageOf(p.fleet)
	}
	st.Issuers = a.issuerStatuses()
	_, st.Hosts = a.health.all()
	var err error
	st.Channels, err = a.notifier.Status()
	return st, err
}

// fleetName is the name of a fleet in messages, metrics and page titles: that of the fleet
// file, or else of this host.
func fleetName(fleet *configs.Fleet) string { return cmp.Or(fleet.Name, hostName()) }

// hostName is the name of this machine.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// daemonStatus is what is known of the daemon without asking anybody.
func (a *App) daemonStatus() (st renewer.DaemonStatus) {
	fleet := a.parts.Load().fleet
	if d := a.daemon.Load(); d != nil {
		st = *d
		now := a.eng.Standing()
		st.LastCheck, st.LastProbe, st.NextDue, st.CheckWithin = now.LastCheck, now.LastProbe, now.NextDue, checkWithin(fleet)
	}
	st.Version, st.FleetFile, st.Fleet = a.opts.Version, fleet.Path, fleetName(fleet)
	return st
}

// PageOf is where the status page can be reached: at external_url, or else at the address
// that it listens on, by this machine's name where that is every address. Empty: nowhere.
func PageOf(fleet *configs.Fleet) string {
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

// port is what takes effect at a start. Links lead to the page under a name that it
// then has to answer.
func port(fleet *configs.Fleet) server.Port {
	p := server.Port{
		Listen: fleet.HTTP.Listen, WebConfig: fleet.HTTP.WebConfig, AllowUnauthenticated: fleet.HTTP.AllowUnauthenticated,
		AllowedHosts: slices.Clone(fleet.HTTP.AllowedHosts),
	}
	if u, err := url.Parse(PageOf(fleet)); err == nil && u.Host != "" {
		p.AllowedHosts = append(p.AllowedHosts, u.Host)
	}
	return p
}
