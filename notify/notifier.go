package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"renewer/renewer"
)

// Sender sends messages through one service. It is given a deadline,
// follows no redirect and reads no more of an answer than it needs. An error
// shows no secret; it may carry a hint and the time to wait (renewer.Error).
// The same message is sent again after an error and after a crash.
type Sender interface {
	Send(ctx context.Context, m Message) error
	// Check looks whether it could send: at its files and, with reach, at the
	// way to where messages go. It sends nothing.
	Check(ctx context.Context, reach bool) error
}

// Store is the log and what the channels know of it. A state is saved whole or
// not at all, and durably.
type Store interface {
	// EventsAfter returns up to limit events with Seq > after, oldest first.
	EventsAfter(after uint64, limit int) ([]renewer.Event, error)
	// LastSeq returns the Seq of the newest event; 0 if there is none.
	LastSeq() (uint64, error)
	// Channels returns the names of the channels that have a state.
	Channels() ([]string, error)
	// LoadChannel returns the state of a channel; nil if it never had one.
	LoadChannel(name string) ([]byte, error)
	// SaveChannel writes it; nil removes it.
	SaveChannel(name string, state []byte) error
}

// Channel is one entry of notify: in the fleet file.
type Channel struct {
	Name     string
	Type     string              // for status: shoutrrr, webhook, smtp, exec
	Events   []renewer.EventType // empty: Usual
	Sender   Sender
	Template Template // the zero value is the default
}

// Config is what a Notifier works with. All but Store may be left out.
type Config struct {
	Store Store
	Facts func() Facts                    // asked once a message, and once a minute while a drift lasts
	Sent  func(channel string, err error) // called after every attempt; returns at once
	Log   *slog.Logger
	Pace  Pace
}

// Notifier follows the log for every channel, each in a goroutine of its own.
type Notifier struct {
	Config
	mu       sync.Mutex
	channels []Channel
	workers  map[string]*worker
	last     map[string]<-chan struct{} // by channel: closed when its latest worker is gone
	ended    bool
	leaving  sync.WaitGroup // of channels that left the fleet file
}

// New returns a notifier without channels: see Set.
func New(c Config) *Notifier {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Facts == nil {
		c.Facts = func() Facts { return Facts{} }
	}
	if c.Sent == nil {
		c.Sent = func(string, error) {}
	}
	if c.Pace == (Pace{}) {
		c.Pace = DefaultPace
	}
	return &Notifier{Config: c, workers: map[string]*worker{}, last: map[string]<-chan struct{}{}}
}

// Know takes over the channels of a fleet file for Test, Status and Once,
// without sending anything by itself.
func (n *Notifier) Know(channels []Channel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.channels = slices.Clone(channels)
}

// Set takes over the channels of a fleet file, the first or a changed one, and
// returns at once. A channel that was there goes on where it was, after what
// it is sending now; one that is new begins at the end of the log, and one
// that left the file is forgotten.
func (n *Notifier) Set(channels []Channel) {
	n.Know(channels)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	was := n.workers
	n.workers = map[string]*worker{}
	for _, c := range channels {
		w := n.worker(c)
		w.after, n.last[c.Name] = n.last[c.Name], w.done
		n.workers[c.Name] = w
	}
	for _, old := range was {
		old.stop()
	}
	for _, w := range n.workers {
		go w.run()
	}
	var gone []*worker
	for name, old := range was {
		if n.workers[name] == nil {
			gone = append(gone, old)
		}
	}
	n.leaving.Go(func() {
		for _, w := range gone {
			<-w.done
		}
		n.forget()
	})
}

// forget removes the states of channels that are in the fleet file no more:
// one that is back a year later starts at the end of the log.
func (n *Notifier) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	names, err := n.Store.Channels()
	for _, name := range names {
		if !slices.ContainsFunc(n.channels, func(c Channel) bool { return c.Name == name }) {
			err = errors.Join(err, n.Store.SaveChannel(name, nil))
		}
	}
	if err != nil {
		n.Log.Error("could not forget channels that left the fleet file", "error", err)
	}
}

// Stop ends every channel, after the try that is under way.
func (n *Notifier) Stop() {
	n.mu.Lock()
	n.ended = true
	all := n.workers
	n.workers = map[string]*worker{}
	n.mu.Unlock()
	for _, w := range all {
		w.stop()
	}
	for _, w := range all {
		<-w.done
	}
	n.leaving.Wait()
}

// Begin makes channels that are new begin here: for a pass without a daemon,
// before it.
func (n *Notifier) Begin() error {
	for _, c := range n.known() {
		w := n.worker(c)
		if err := w.load(); err != nil {
			return err
		}
	}
	return nil
}

// Once sends now, with one attempt a channel, what the log has: for a pass without
// a daemon, after it.
func (n *Notifier) Once() {
	var g sync.WaitGroup
	for _, c := range n.known() {
		g.Go(func() { n.worker(c).once() })
	}
	g.Wait()
}

// Test sends one message through a channel. It is no news: it changes nothing
// of what the channel knows, neither its last success nor that it fails. One
// that is taken makes a message that waits for its next try go out at once.
func (n *Notifier) Test(ctx context.Context, name string) error {
	channels := n.known()
	i := slices.IndexFunc(channels, func(c Channel) bool { return c.Name == name })
	if i < 0 {
		return renewer.WithHint(fmt.Errorf("the fleet file has no channel %s", name), n.channelsHint())
	}
	w, m := n.worker(channels[i]), TestMessage(name, time.Now())
	n.Facts().add(&m, m.Time)
	if err := w.send(ctx, m); err != nil {
		return fmt.Errorf("send through channel %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at := n.workers[name]; at != nil {
		at.works.Store(true)
	}
	return nil
}

// Status says how each channel stands.
func (n *Notifier) Status() ([]renewer.ChannelStatus, error) {
	var out []renewer.ChannelStatus
	for _, c := range n.known() {
		st := renewer.ChannelStatus{Name: c.Name, Type: c.Type}
		data, err := n.Store.LoadChannel(c.Name)
		if err != nil {
			return nil, fmt.Errorf("read the state of channel %s: %w", c.Name, err)
		}
		if data != nil {
			s, err := decode(data)
			if err != nil {
				return nil, fmt.Errorf("channel %s: %w", c.Name, err)
			}
			st = s.status(c)
		}
		out = append(out, st)
	}
	return out, nil
}

// Live says how each channel at work stands, from memory: for frequent calls.
// One that has not read its state yet is left out.
func (n *Notifier) Live() []renewer.ChannelStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []renewer.ChannelStatus
	for _, c := range n.channels {
		if w := n.workers[c.Name]; w != nil {
			if st := w.live.Load(); st != nil {
				out = append(out, *st)
			}
		}
	}
	return out
}

// channelsHint names the channels that there are.
func (n *Notifier) channelsHint() string {
	var names []string
	for _, c := range n.known() {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return "add one under notify: in the fleet file"
	}
	return "its channels: " + strings.Join(names, ", ")
}

func (n *Notifier) known() []Channel {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.channels
}
