package page

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// wave is what is under way for one entry of the fleet file: one rollout, or one
// for each host of an entry with per_host.
type wave struct {
	Entry      string
	Name       string // of the entry, or of the only certificate
	Link       string
	Kinds      string
	Since      time.Time // the first one began
	Phase      renewer.Phase
	Generation int // 0: several, or none
	Reasons    []string
	Error      string // of an order
	Hint       string
	Waits      []waitOf
	Counts     []stageCount
	Verified   int
	Hosts      []waveHost // failed ones first
	More       int        // hosts that are not shown
	failed     int
	of         map[string]waveHost
	begun      map[string]bool // certificates whose rollout was seen
}

// waitOf is a reason to wait, with how many hosts it keeps.
type waitOf struct {
	renewer.Waiting
	Hosts int // 1: it is Host
}

// stageCount is how many hosts of a wave are at one stage.
type stageCount struct {
	look
	N int
}

// waveHost is one host of a wave.
type waveHost struct {
	Certificate, Host string
	Stage             stage
	State             string // as it is shown
	Attempts          int
	Error, Hint       string
}

// Class is red where something failed.
func (w *wave) Class() string {
	if w.failed > 0 {
		return bad
	}
	return busy
}

// Failed are the first hosts of those that failed, which are shown in any case.
func (w *wave) Failed() waveHosts {
	return waveHosts{Hosts: w.Hosts[:min(w.failed, mostFailed, len(w.Hosts))]}
}

// Others are the hosts that Failed leaves out.
func (w *wave) Others() waveHosts {
	return waveHosts{w.Hosts[len(w.Failed().Hosts):], w.More, w.Link}
}

// waveHosts are hosts of a wave.
type waveHosts struct {
	Hosts []waveHost
	More  int // that are not shown
	Link  string
}

// Total is how many there are.
func (h waveHosts) Total() int { return len(h.Hosts) + h.More }

// Open reports whether the hosts are few enough to be shown at once.
func (w *wave) Open() bool { return w.Total() <= 6 }

// Total is how many hosts there are.
func (w *wave) Total() int { return len(w.Hosts) + w.More }

// Done is the share of verified hosts in percent.
func (w *wave) Done() float64 { return 100 * float64(w.Verified) / float64(max(1, w.Total())) }

// entryOf is the entry of the fleet file that a certificate is of.
func entryOf(certificate string) string {
	entry, _, _ := strings.Cut(certificate, "@")
	return entry
}

// waves groups rollouts by entry, in the order in which they come. One that is
// alone stands for itself.
func waves(rollouts []renewer.RolloutView) (out []*wave) {
	for _, r := range rollouts {
		entry := entryOf(r.Certificate)
		i := slices.IndexFunc(out, func(w *wave) bool { return w.Entry == entry })
		if i < 0 {
			i = len(out)
			out = append(out, &wave{Entry: entry, Since: r.StartedAt, Phase: r.Phase, of: map[string]waveHost{}, begun: map[string]bool{}})
		}
		out[i].join(r)
	}
	for _, w := range out {
		w.Name, w.Link = w.Entry, "/?q="+url.QueryEscape(w.Entry+"@")+"#certificates"
		if len(w.begun) == 1 {
			for only := range w.begun {
				w.Name, w.Link = only, certificateLink(only)
			}
		}
	}
	return out
}

func (w *wave) join(r renewer.RolloutView) {
	kind := kinds[r.Kind]
	if kind == "" {
		kind = string(r.Kind)
	}
	if !strings.Contains(w.Kinds, kind) {
		w.Kinds = strings.TrimPrefix(w.Kinds+", "+kind, ", ")
	}
	if r.StartedAt.Before(w.Since) {
		w.Since = r.StartedAt
	}
	if r.Phase == renewer.PhaseRolling {
		w.Phase = r.Phase
	}
	w.begun[r.Certificate] = true
	w.Generation = 0
	if len(w.begun) == 1 {
		w.Generation = r.Generation
	}
	w.Error, w.Hint = cmp.Or(w.Error, r.Error), cmp.Or(w.Hint, r.Hint)
	for _, reason := range r.Reasons {
		if len(w.Reasons) < mostReasons && !slices.Contains(w.Reasons, reason.Text) {
			w.Reasons = append(w.Reasons, reason.Text)
		}
	}
	for _, each := range r.Waiting {
		if each.Host == "" {
			each.Host = hostIn(r.Certificate)
		}
		same := func(has waitOf) bool { return has.Kind == each.Kind && has.Text == each.Text && each.Host != "" }
		if i := slices.IndexFunc(w.Waits, same); i >= 0 {
			w.Waits[i].Hosts++
		} else {
			w.Waits = append(w.Waits, waitOf{each, 1})
		}
	}
	for _, s := range r.Steps {
		w.of[r.Certificate+"\n"+s.Host] = waveHost{r.Certificate, s.Host, stageOf(s.State), string(s.State), s.Attempts, s.Error, s.Hint}
	}
}

// kinds are the kinds of rollouts as they are shown.
var kinds = map[renewer.Kind]string{renewer.KindIssue: "renewal", renewer.KindPlace: "placement", renewer.KindRollback: "rollback"}

// Most of a wave that its card names; the list has all.
const (
	mostReasons   = 3
	mostWaits     = 4
	mostWaveHosts = 60
	mostFailed    = 5
)

// hostIn is the host that the name of a certificate names, if it does.
func hostIn(certificate string) string {
	_, host, _ := strings.Cut(certificate, "@")
	return host
}

// take counts the hosts of another certificate of the entry: one whose rollout has
// not begun, has ended, or was left out. A wave of one certificate counts no others.
func (w *wave) take(r renewer.Row) {
	if len(w.begun) == 1 || w.begun[r.Name] {
		return
	}
	for _, h := range r.Hosts {
		at := waveHost{Certificate: r.Name, Host: h.Name, State: string(h.State), Error: h.Error}
		switch h.State {
		case renewer.HostVerified:
			at.Stage = verified
			if r.Status == renewer.StatusRenewing || r.Status == renewer.StatusDue {
				at.Stage, at.State = waiting, string(renewer.HostPending) // it has the one before
			}
		case renewer.HostStaged:
			at.Stage = staged
		case renewer.HostActivated:
			at.Stage = activated
		case renewer.HostRolledBack, renewer.HostBlocked:
			at.Stage = failed
		default:
			at.Stage = waiting
		}
		w.of[r.Name+"\n"+h.Name] = at
	}
}

// count ends the gathering.
func (w *wave) count() {
	var n [len(stages)]int
	for _, h := range w.of {
		n[h.Stage]++
		w.Hosts = append(w.Hosts, h)
	}
	for s := len(stages) - 1; s >= 0; s-- {
		if n[s] > 0 {
			w.Counts = append(w.Counts, stageCount{stages[s], n[s]})
		}
	}
	w.Verified, w.failed = n[verified], n[failed]
	slices.SortFunc(w.Hosts, func(a, b waveHost) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Certificate, b.Certificate))
	})
	if extra := len(w.Hosts) - mostWaveHosts; extra > 0 {
		w.Hosts, w.More = w.Hosts[:mostWaveHosts], extra
	}
	if len(w.Waits) > mostWaits {
		w.Waits = w.Waits[:mostWaits]
	}
}
