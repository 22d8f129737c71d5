package notify

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// Problem is what an operator should know of, from the event that opened it to
// the one that closed it.
type Problem struct {
	Kind        renewer.EventType `json:"kind"`
	Severity    string            `json:"severity,omitempty"` // critical or warning; of a notice empty
	Certificate string            `json:"certificate,omitempty"`
	Host        string            `json:"host,omitempty"`
	Issuer      string            `json:"issuer,omitempty"`
	Generation  int               `json:"generation,omitempty"`
	Since       time.Time         `json:"since"`
	Until       time.Time         `json:"until,omitzero"` // when it was closed
	Events      int               `json:"events"`         // of it
	Message     string            `json:"message,omitempty"`
	Error       string            `json:"error,omitempty"`
	Hint        string            `json:"hint,omitempty"`
	Means       string            `json:"means,omitempty"`
	Command     string            `json:"command,omitempty"`  // to run first
	Commands    []string          `json:"commands,omitempty"` // all of them, Command first
	Ended       string            `json:"ended,omitempty"`    // by what
	NotAfter    time.Time         `json:"not_after,omitzero"` // of the certificate; of an issuer, of the first that expires of its certificates
	Expires     string            `json:"expires,omitempty"`  // the same in words, as of when the message is sent
	Page        string            `json:"page,omitempty"`     // address of the page of the certificate, host or issuer
	Runbook     string            `json:"runbook,omitempty"`  // its name
	RunbookURL  string            `json:"runbook_url,omitempty"`

	News     bool      `json:"-"` // in no message yet, or worse than there
	Told     bool      `json:"-"` // a message opened it
	Worse    bool      `json:"-"` // expired, and a message opened it as expiring
	Doubtful time.Time `json:"-"` // its rollout was given up then, and no other has begun
}

func (t Problem) key() key { return key{t.Kind, t.Certificate, t.Host, t.Issuer} }

// Pace bounds how often a channel speaks.
type Pace struct {
	Quiet    time.Duration // a message waits until nothing happened for so long,
	Patience time.Duration // but no longer than this
	Interval time.Duration // between two messages
	PerHour  int           // messages in any hour
	Settle   time.Duration // until a rollout that was given up, and not begun again, ends its problems
}

// DefaultPace makes one message of what happens together, and leaves time to
// read it.
var DefaultPace = Pace{Quiet: 10 * time.Second, Patience: time.Minute, Interval: time.Minute, PerHour: 12, Settle: time.Minute}

// state is what a channel knows. It is pure: time comes from outside. Saved at
// any moment, it goes on from its cursor through the log as if it had never
// been away.
type state struct {
	cursor uint64
	open   map[key]*Problem
	of     map[owner]map[key]*Problem // the open ones of each certificate and issuer
	fresh  int                        // open ones that are news
	over   map[key]Problem            // closed, and in no message yet
	notes  []Problem                  // likewise

	firstNews, lastNews time.Time // zero without news
	sent                []time.Time
	outbox              *outgoing // the message on its way; no other is made before it is gone

	lastSuccess, lastErrorAt time.Time
	failingSince             time.Time // the first of the tries that failed since a message was taken; zero for none
	lastError, hint          string
}

// outgoing is a message that is not known to have arrived.
type outgoing struct {
	Message  Message   `json:"message"`
	Attempts int       `json:"attempts"`
	NextAt   time.Time `json:"next_at,omitzero"`
	Since    time.Time `json:"since,omitzero"` // of the oldest news in it
}

func newState(cursor uint64) *state {
	return &state{cursor: cursor, open: map[key]*Problem{}, of: map[owner]map[key]*Problem{}, over: map[key]Problem{}}
}

// owner is whose problem it is: one of the two is set.
type owner struct{ certificate, issuer string }

func (s *state) add(t *Problem) {
	k := t.key()
	o := owner{k.certificate, k.issuer}
	if s.of[o] == nil {
		s.of[o] = map[key]*Problem{}
	}
	s.open[k], s.of[o][k] = t, t
	if t.News {
		s.fresh++
	}
}

func (s *state) drop(t *Problem) {
	k := t.key()
	o := owner{k.certificate, k.issuer}
	delete(s.open, k)
	if delete(s.of[o], k); len(s.of[o]) == 0 {
		delete(s.of, o)
	}
	if t.News {
		s.fresh--
	}
}

// take reads one event of the log.
func (s *state) take(e renewer.Event, wanted map[renewer.EventType]bool, now time.Time) {
	s.cursor = max(s.cursor, e.Seq)
	at := e.Time
	if at.After(now) { // a clock that was set back
		at = now
	}
	k, opening := opens(e)
	opening = opening && wanted[k.kind]
	worse := false
	for _, t := range s.of[owner{e.Certificate, e.Issuer}] {
		switch {
		case opening && t.key() == k:
		case e.Type == renewer.EventExpired && !wanted[renewer.EventExpired]: // it goes on as what it was
		case e.Type == renewer.EventExpired && t.Kind == renewer.EventExpiring && ends(e, *t) && (s.open[k] == nil || s.open[k].News): // worse now, and not resolved
			s.drop(t)
			s.calm()
			worse = t.Told
		case ends(e, *t):
			s.end(t, at, word(e.Type)+said(e.Message))
		case givenUp(e, *t):
			t.Doubtful = at
		case e.Type == renewer.EventRolloutPlanned && t.Certificate == e.Certificate:
			t.Doubtful = time.Time{}
		}
	}
	if opening {
		s.begin(k, e, at)
		s.open[k].Worse = s.open[k].Worse || worse
	} else if _, ok := notices[e.Type]; ok && wanted[e.Type] {
		s.notes = append(s.notes[max(len(s.notes)-maxNotes+1, 0):], Problem{
			Kind: e.Type, Certificate: e.Certificate, Host: e.Host, Issuer: e.Issuer, Generation: e.Generation, Since: at, Events: 1,
			Message: short(e.Message), Error: short(e.Error), Hint: short(e.Hint),
		})
		s.news(at)
	}
}

// maxNotes bounds what waits for a channel that does not work; the log has all.
const maxNotes = 500

func said(message string) string {
	if message == "" {
		return ""
	}
	return ": " + short(message)
}

// begin notes a problem, a repeat of one, or one that is back before anybody
// resolved it.
func (s *state) begin(k key, e renewer.Event, at time.Time) {
	t := s.open[k]
	if t == nil {
		t = &Problem{Kind: k.kind, Certificate: k.certificate, Host: k.host, Issuer: k.issuer, Since: at, News: true}
		if was, ok := s.over[k]; ok {
			*t = was
			t.News, t.Until, t.Ended = !t.Told, time.Time{}, ""
			delete(s.over, k)
		}
		s.add(t)
		s.calm()
	}
	t.Events++
	t.Generation, t.Message, t.Error, t.Hint, t.Doubtful = e.Generation, short(e.Message), short(e.Error), short(e.Hint), time.Time{}
	if kinds[k.kind].again && !t.News {
		t.News = true
		s.fresh++
	}
	if t.News {
		s.news(at)
	}
}

func (s *state) end(t *Problem, at time.Time, why string) {
	s.drop(t)
	if t.Worse && !t.Told { // what the message opened is resolved
		t.Kind, t.Told = renewer.EventExpiring, true
	}
	if !t.Told && (!t.News || kinds[t.Kind].brief) { // it was only counted, or not worth a notice
		s.calm()
		return
	}
	t.Until, t.Ended, t.News, t.Doubtful = at, why, false, time.Time{}
	t.Told = t.Told || s.over[t.key()].Told
	s.over[t.key()] = *t
	s.news(at)
}

func (s *state) news(at time.Time) {
	if s.firstNews.IsZero() {
		s.firstNews = at
	}
	s.lastNews = at
}

// calm forgets when news came if they have taken each other back.
func (s *state) calm() {
	if s.untold() == 0 {
		s.firstNews, s.lastNews = time.Time{}, time.Time{}
	}
}

// untold counts what the next message would hold.
func (s *state) untold() int { return s.fresh + len(s.over) + len(s.notes) }

// sorted returns the open problems, the worst first.
func (s *state) sorted() []*Problem {
	return slices.SortedFunc(maps.Values(s.open), func(a, b *Problem) int { return a.compare(*b) })
}

// ended returns what was closed and is in no message yet, the worst first.
func (s *state) ended() []Problem {
	return slices.SortedFunc(maps.Values(s.over), Problem.compare)
}

// settle ends the problems of rollouts that were given up and not begun again,
// and returns when to ask again; zero for not by time alone.
func (s *state) settle(p Pace, now time.Time) (next time.Time) {
	for _, t := range s.open {
		if t.Doubtful.IsZero() {
			continue
		}
		if at := t.Doubtful.Add(p.Settle); at.After(now) {
			next = earlier(next, at)
			continue
		}
		s.end(t, now, "its rollout was replaced, and nothing is left to do")
	}
	return next
}

// lasting are the drifts that are still open after renewer.DiffersFor and in no
// message as critical.
func (s *state) lasting(now time.Time) (out []*Problem) {
	for _, t := range s.open {
		if t.Kind == renewer.EventDrifted && !t.differs() && now.Sub(t.Since) > renewer.DiffersFor {
			out = append(out, t)
		}
	}
	return out
}

// escalate makes news of the lasting drifts that status calls served_differs:
// renewer could not restore its own.
func (s *state) escalate(f Facts, now time.Time) {
	for _, t := range s.lasting(now) {
		if !f.differs(*t, now) {
			continue
		}
		if t.Severity = string(problems.Critical); !t.News {
			t.News = true
			s.fresh++
		}
		s.news(now)
	}
}

// due returns when the next message is to be made; zero for never. It is never
// further away than the bounds together, whatever the clock does.
func (s *state) due(p Pace, now time.Time) time.Time {
	if s.firstNews.IsZero() || s.outbox != nil {
		return time.Time{}
	}
	at := earlier(s.lastNews.Add(p.Quiet), s.firstNews.Add(p.Patience))
	if n := len(s.sent); n > 0 {
		at = later(at, s.sent[n-1].Add(p.Interval))
		if p.PerHour > 0 && n >= p.PerHour {
			at = later(at, s.sent[n-p.PerHour].Add(time.Hour))
		}
	}
	return earlier(at, now.Add(p.Patience+p.Interval+time.Hour))
}

// compose moves all that is news into the outbox. Only a problem that an earlier
// message opened is resolved; one that came and went in between is a notice. A
// problem that the message has no room for counts as not opened.
func (s *state) compose(channel string, p Pace, now time.Time) {
	m := Message{Channel: channel, Time: now.UTC().Truncate(time.Second)}
	for _, t := range s.ended() {
		switch {
		case !t.Told:
			m.Notices = append(m.Notices, t)
		case len(m.Resolved) == maxListed: // the next message has it
			continue
		default:
			m.Resolved = append(m.Resolved, t)
		}
		delete(s.over, t.key())
	}
	m.Notices = append(m.Notices, s.notes...)
	for _, t := range s.sorted() {
		if t.News {
			t.News = false
			t.Told = t.Told || len(m.Open) < maxListed
			m.Open = append(m.Open, *t)
		}
	}
	for _, list := range [][]Problem{m.Open, m.Resolved, m.Notices} {
		for i := range list {
			describe(&list[i])
		}
	}
	m.Remaining = len(s.open)
	m.ID = messageID(channel, s.cursor, m)
	m.cap()
	since := s.firstNews
	s.fresh, s.notes, s.firstNews, s.lastNews = 0, nil, now, now
	s.calm()
	s.outbox = &outgoing{Message: m, Since: since}
	s.sent = append(s.sent, now)
	s.sent = s.sent[max(len(s.sent)-max(p.PerHour, 1), 0):]
}

// delivered notes that the message in the outbox has arrived.
func (s *state) delivered(now time.Time) {
	s.outbox, s.lastSuccess, s.lastError, s.lastErrorAt, s.hint = nil, now, "", time.Time{}, ""
	s.failingSince = time.Time{}
}

// failed notes why it has not, and when it is tried again.
func (s *state) failed(err error, now time.Time) {
	o := s.outbox
	o.Attempts++
	o.NextAt = now.Add(max(backoff(o.Attempts, o.Message.ID), min(renewer.RetryAfter(err), longest)))
	s.lastError, s.lastErrorAt, s.hint = short(err.Error()), now, short(renewer.Hint(err))
	if s.failingSince.IsZero() {
		s.failingSince = now
	}
}

// waitingSince is when the oldest of what was not taken yet came; zero for
// nothing.
func (s *state) waitingSince() time.Time {
	if o := s.outbox; o != nil {
		return cmp.Or(o.Since, o.Message.Time) // a state of an older version has no Since
	}
	return s.firstNews
}

// status says how the channel stands.
func (s *state) status(c Channel) renewer.ChannelStatus {
	st := renewer.ChannelStatus{
		Name: c.Name, Type: c.Type, Open: len(s.open), Waiting: s.untold(), WaitingSince: s.waitingSince(),
		LastSuccess: s.lastSuccess, FailingSince: s.failingSince, LastError: s.lastError, LastErrorAt: s.lastErrorAt, Hint: s.hint,
	}
	if o := s.outbox; o != nil {
		st.Waiting += len(o.Message.Open) + len(o.Message.Resolved) + len(o.Message.Notices)
	}
	return st
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
