package engine

import (
	"time"

	"renewer/renewer"
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
	atWork := 0
	for _, en := range e.entries {
		next := en.rec.Rollout.Next(en.cert, e.condition(en, now))
		earlier(next.Wake)
		if _, held := e.turn.Held[en.cert.Name]; len(next.Actions) > 0 && !held {
			atWork++
		}
	}
	earlier(e.turn.Wake)
	switch {
	case e.retryAt.After(now):
		earlier(e.retryAt)
	case atWork < maxUnderWay && e.onItsOwn:
		if len(e.unplanned) > 0 {
			earlier(now)
		}
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
	room := maxUnderWay - e.atWork()
	if room <= 0 || !e.onItsOwn {
		return
	}
	names, err := e.Store.Due(now, room)
	if err != nil {
		e.Log.Error("read the due index", "error", err)
		return
	}
	for name := range e.unplanned {
		names = append(names, name)
	}
	e.consider(names)
}

// atWork counts the rollouts that have something to do now. Those that wait,
// for a host that is away, a window or others, keep nobody else from starting.
func (e *Engine) atWork() int {
	n, now := 0, e.Now()
	for _, en := range e.entries {
		_, held := e.turn.Held[en.cert.Name]
		if !held && len(en.rec.Rollout.Next(en.cert, e.condition(en, now)).Actions) > 0 {
			n++
		}
	}
	return n
}

// dispatch starts what can be done now, as far as there are workers. That
// something is about to be flipped is recorded first.
func (e *Engine) dispatch() {
	if len(e.unrecorded) > 0 {
		return // an inventory that takes nothing is no ground to go on from
	}
	e.turn = renewer.Decide(e.conditions(e.Now()), func(a renewer.Action) bool { return e.busy[a] })
	tasks := e.affordable(e.turn.Tasks)
	if err := e.begin(tasks); err != nil {
		e.Log.Error("record what is about to be done; trying again", "error", err)
		e.retryAt = e.Now().Add(retryRecording)
		e.failWatchers(err)
		return
	}
	for _, task := range tasks {
		jobs := make([]job, 0, len(task))
		for _, a := range task {
			e.busy[a] = true
			jobs = append(jobs, e.newJob(a))
		}
		e.running++
		go func() { e.outcomes <- e.work(e.workContext, jobs) }()
	}
	e.settleWatchers()
}

// affordable returns what there are workers for. Orders leave some to the hosts:
// nobody who has to go back waits for an issuer that is slow.
func (e *Engine) affordable(tasks []renewer.Task) []renewer.Task {
	orders := max(e.Workers*3/4, 1)
	for a := range e.busy {
		if a.Kind == renewer.ActOrder {
			orders--
		}
	}
	free := e.Workers - e.running
	var out []renewer.Task
	for _, task := range tasks {
		if len(out) >= free {
			break
		}
		if task[0].Kind == renewer.ActOrder {
			if orders <= 0 {
				continue
			}
			orders--
		}
		out = append(out, task)
	}
	return out
}

// begin records the intents of tasks, in one transaction.
func (e *Engine) begin(tasks []renewer.Task) error {
	next := map[string]*entry{}
	changes := map[string]Change{}
	var batch []pending
	for _, task := range tasks {
		for _, a := range task {
			en, again := next[a.Certificate]
			if !again {
				en = e.entries[a.Certificate].clone()
			}
			if ev, refused := e.passed(en, a); refused {
				changes[a.Certificate] = Change{Events: append(changes[a.Certificate].Events, ev)}
			}
			if en.rec.Begin(a) && !again {
				next[a.Certificate] = en
			}
		}
	}
	for name, en := range next {
		batch = append(batch, e.put(en, changes[name]))
	}
	return e.record(batch)
}

func (e *Engine) condition(en *entry, now time.Time) renewer.Conditions {
	k := renewer.Conditions{Now: now, WindowOpen: true}
	if w, ok := e.fleet.Windows[en.cert.Window]; ok && !e.urgent[en.cert.Name] {
		k.WindowOpen, k.WindowNext = w.At(now)
	}
	if en.current != nil {
		k.End = en.current.NotAfter
	}
	return k
}
