package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"renewer/renewer"
)

// What can be asked about the workers of a Dagu cluster.
type (
	// WorkerLister is a Prober that can ask a coordinator, as one of its peers, for its
	// workers; renewer.ErrNotDagu from a server that is none.
	WorkerLister interface {
		Workers(ctx context.Context, r ProbeRequest) ([]renewer.Worker, error)
	}
	// WorkerNamer is a Host that knows the names (see renewer.Worker) of the workers that
	// a placement's units run; none where they run none.
	WorkerNamer interface {
		WorkerNames(ctx context.Context, p renewer.Placement) ([]string, error)
	}
)

// addTasks adds to what a service runs the tasks that coordinators list for it.
func (e *Engine) addTasks(ctx context.Context, j job, host Host, work *renewer.Work) {
	lister, canList := e.Prober.(WorkerLister)
	namer, canName := host.(WorkerNamer)
	if !canList || !canName {
		return
	}
	names, err := namer.WorkerNames(ctx, j.placement)
	if err != nil {
		work.Unknown = "get the name of the worker: " + err.Error()
		return
	}
	if len(names) == 0 {
		return
	}
	listed, unknown := false, ""
	for _, p := range j.coordinators() {
		list, err := e.workersOf(ctx, j, lister, p)
		if err != nil {
			unknown = p.Certificate + " on " + p.Host + " does not answer: " + err.Error()
		}
		for _, w := range list {
			switch {
			case !w.Live:
			case slices.Contains(names, w.Name()):
				listed = true
				work.Active += w.Tasks
			case w.Tasks > 0 && unknown == "":
				unknown = fmt.Sprintf("%s lists no worker %s; %s is busy and may be the same one", p.Certificate, names[0], w.ID)
			}
		}
	}
	if work.What = "tasks of worker " + strings.Join(names, ", ") + " and " + work.What; !listed {
		work.Unknown = unknown
	}
}

// coordinators are what may be one for a job: the gRPC servers of its peer group.
func (j job) coordinators() (out []renewer.Placement) {
	for _, c := range j.fleet.Certificates {
		for _, p := range c.Placements {
			if c.PeerGroup == j.cert.PeerGroup && p.Probe.Kind == renewer.ProbeGRPCHealth {
				out = append(out, p)
			}
		}
	}
	return out
}

// workersOf asks one coordinator as it is now. One that is not there, or refuses
// connections, has none: it gives up what it does not learn of within its lease.
func (e *Engine) workersOf(ctx context.Context, j job, lister WorkerLister, p renewer.Placement) ([]renewer.Worker, error) {
	c, _ := j.fleet.Certificate(p.Certificate)
	rec, _, err := e.Store.Record(c.Name)
	if err != nil {
		return nil, err
	}
	st := rec.Placements[p.Host]
	if !st.Placed() {
		return nil, nil
	}
	gen, err := e.generation(c.Name, st.Generation)
	if err != nil {
		return nil, err
	}
	v := sight{cert: c, placement: p, gen: gen, accepts: st.Roots, fleet: j.fleet, roots: j.roots, creds: j.creds}
	if st.Loaded != nil {
		v.accepts = st.Loaded.Roots
	}
	req, err := e.probeRequest(ctx, v)
	if err != nil {
		return nil, err
	}
	list, err := lister.Workers(ctx, req)
	if errors.Is(err, renewer.ErrNotDagu) || errors.Is(err, syscall.ECONNREFUSED) {
		err = nil
	}
	return list, err
}

// mostWorkers is how many workers of a coordinator are waited for by name.
const mostWorkers = 200

// connected returns the workers that a coordinator has now; none of what is no
// coordinator, or does not answer.
func (e *Engine) connected(ctx context.Context, req ProbeRequest) (names []string) {
	lister, ok := e.Prober.(WorkerLister)
	if !ok || req.Placement.Probe.Kind != renewer.ProbeGRPCHealth {
		return nil
	}
	list, err := lister.Workers(ctx, req)
	if err != nil {
		return nil
	}
	for _, w := range list {
		if w.Live {
			names = append(names, w.Name())
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), mostWorkers)]
}

// pauseForWorkers is the time between two looks for them, timeOfReturn what they take to
// connect again (0.2 to 8 s, as was seen with 2.15).
const (
	pauseForWorkers = 500 * time.Millisecond
	timeOfReturn    = 8 * time.Second
)

// awaitWorkers waits until the workers that a coordinator had before its restart are
// seen again. If none is, they do not take its certificate, and it goes back.
func (e *Engine) awaitWorkers(ctx context.Context, j job, req ProbeRequest, out *renewer.Outcome) {
	lister, ok := e.Prober.(WorkerLister)
	if !ok || out.Err != nil || len(j.step.Workers) == 0 {
		return
	}
	began := e.Now()
	until := began.Add(defaultProbeTimeout)
	if half := j.step.Half(); !half.IsZero() {
		until = half
	}
	others := slices.DeleteFunc(j.coordinators(), func(p renewer.Placement) bool { return p.ID() == j.placement.ID() })
	missing := slices.Clone(j.step.Workers)
	var before map[string]uint64 // as the first answer has it: it may be of before the restart
	for {
		list, err := lister.Workers(ctx, req)
		if errors.Is(err, renewer.ErrNotDagu) {
			return
		}
		first := err == nil && before == nil
		if first {
			before = map[string]uint64{}
		}
		for _, w := range list {
			if first {
				before[w.ID] = w.Heard
			} else if w.Heard > before[w.ID] {
				missing = slices.DeleteFunc(missing, func(name string) bool { return name == w.Name() })
			}
		}
		for _, p := range others { // some may have gone over to another one
			if len(missing) == 0 {
				break
			}
			list, _ := e.workersOf(ctx, j, lister, p)
			missing = slices.DeleteFunc(missing, func(name string) bool {
				return slices.ContainsFunc(list, func(w renewer.Worker) bool { return w.Live && w.Name() == name })
			})
		}
		if len(missing) == 0 || !e.Now().Add(pauseForWorkers).Before(until) || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(pauseForWorkers):
		case <-ctx.Done():
		}
	}
	out.At = e.Now()
	switch all := len(j.step.Workers); {
	case len(missing) == 0:
	case len(missing) == all && out.At.Sub(began) >= timeOfReturn:
		out.End, out.Err = renewer.EndFailed, &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: renewer.WithHint(
			fmt.Errorf("none of the %d workers that %s had on %s has reconnected: %s", all, j.Certificate, j.Host, few(missing)),
			"run on a worker: journalctl -u dagu-worker; check that the certificate covers the name that the worker dials")}
	default:
		out.End, out.Err = renewer.EndFailed, &renewer.ProbeError{Kind: renewer.ProbeDeserted, Err: renewer.WithHint(
			fmt.Errorf("%d of the %d workers that %s had on %s have not reconnected yet: %s", len(missing), all, j.Certificate, j.Host, few(missing)),
			"run on a worker: journalctl -u dagu-worker; the next check is within minutes")}
	}
}

func few(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
