package engine

import (
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/traffic"
)

// One turn of the loop: when to wake, what is due, what is started.

// nextWake is the one timer: the head of the due index, the next thing that a
// rollout under way waits for, and never more than minutes.
func (e *Engine) nextWake() time.Duration {
	now := e.Now()
	wake := now.Add(wakeAtLeast)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	earlier(e.traffic.Wake())
	if e.told.version != e.traffic.Version() {
		earlier(e.told.at.Add(tellEvery))
	}
	switch {
	case e.retryAt.After(now):
		earlier(e.retryAt)
	case e.traffic.AtWork() >= maxUnderWay:
	case len(e.asked) > 0 || e.onItsOwn && len(e.unplanned) > 0:
		earlier(now)
	case e.onItsOwn:
		if due, ok, err := e.Store.NextDue(); err == nil && ok {
			earlier(due)
		}
	}
	return max(wake.Sub(now), 10*time.Millisecond)
}

// tick looks at what is due. Nothing due costs one look at the head of the
// index: no issuer and no host is called.
func (e *Engine) tick() {
	now := e.Now()
	if e.retryAt.After(now) {
		return
	}
	if len(e.unrecorded) > 0 {
		e.take()
	}
	room := maxUnderWay - e.traffic.AtWork()
	if n := min(room, len(e.asked)); n > 0 {
		names := e.asked[:n]
		e.asked = e.asked[n:]
		e.consider(names)
		for _, name := range names {
			if e.unplanned[name] {
				e.asked = append(e.asked, name)
			}
		}
		room -= n
	}
	if room <= 0 || !e.onItsOwn {
		return
	}
	names, err := e.Store.Due(now, room)
	if err != nil {
		e.Log.Error("could not read the due index", "error", err)
		return
	}
	for name := range e.unplanned {
		names = append(names, name)
	}
	e.consider(names)
}

// dispatch starts what can be done now, as far as there are workers. That
// something is about to be flipped is recorded first.
func (e *Engine) dispatch() {
	if len(e.unrecorded) > 0 {
		return // an inventory that takes nothing is no ground to go on from
	}
	now := e.Now()
	e.passing(now)
	e.traffic.Decide(now)
	tasks := e.affordable()
	if err := e.begin(tasks); err != nil {
		for _, a := range slices.Concat(tasks...) {
			e.traffic.Free(a)
		}
		e.Log.Error("could not record the next action; retrying", "error", err)
		e.retryAt = e.Now().Add(retryRecording)
		e.failWatchers(err)
		return
	}
	for _, task := range tasks {
		jobs := make([]job, 0, len(task))
		for _, a := range task {
			jobs = append(jobs, e.newJob(a))
		}
		e.running++
		go func() { e.outcomes <- e.work(e.workContext, jobs) }()
	}
	e.traffic.Decide(now) // what has just begun is no longer about to
	e.settleWatchers()
}

// affordable takes what there are workers for. Orders leave some to the hosts:
// no one who has to go back waits for an issuer that is slow.
func (e *Engine) affordable() (tasks []traffic.Task) {
	orders := max(e.Workers*3/4, 1) - e.traffic.Busy(renewer.ActOrder)
	for e.running+len(tasks) < e.Workers {
		task, ok := e.traffic.Next()
		if !ok {
			break
		}
		if task[0].Kind == renewer.ActOrder { // the least urgent, so only orders come after it
			if orders--; orders < 0 {
				break
			}
		}
		task, _ = e.traffic.Take()
		if e.refused(task) {
			continue
		}
		tasks = append(tasks, task)
	}
	return tasks
}

// refused reports whether a gate has closed since it was last asked: then the
// task is given back, and decided again.
func (e *Engine) refused(task traffic.Task) (shut bool) {
	for _, a := range task {
		en := e.entries[a.Certificate]
		if s, ok := en.rec.Rollout.Step(a.Host); ok && a.Kind == renewer.ActActivate && s.State == renewer.StepStaged && s.Pass != renewer.PassRoots {
			if e.gate(en).Kind != "" {
				shut = true
				e.recheck(a.Certificate)
			}
		}
	}
	if shut {
		for _, a := range task {
			e.traffic.Free(a)
		}
		e.traffic.Decide(e.Now())
	}
	return shut
}

// begin records the intents of tasks, in one transaction.
func (e *Engine) begin(tasks []traffic.Task) error {
	inputs := map[string][]renewer.Input{}
	for _, a := range slices.Concat(tasks...) {
		if a.Kind == renewer.ActActivate {
			inputs[a.Certificate] = append(inputs[a.Certificate], renewer.Begun{Action: a, Refuse: e.refuse(e.entries[a.Certificate], a)})
		}
	}
	var batch []pending
	for name, in := range inputs {
		if p, changed := e.apply(e.entries[name], in...); changed {
			batch = append(batch, p)
		}
	}
	return e.record(batch)
}

// deadline is that of what is in place of a certificate.
func (e *Engine) deadline(en *entry) renewer.Deadline {
	state := en.state()
	return state.Deadline(e.generationOf(en))
}

func (e *Engine) condition(en *entry, now time.Time) renewer.Conditions {
	k := renewer.Conditions{Now: now, WindowOpen: true}
	if w, ok := e.fleet.Windows[en.cert.Window]; ok && !e.urgent[en.cert.Name] {
		k.WindowOpen, k.WindowNext = w.At(now)
	}
	k.Deadline = e.deadline(en)
	return k
}
