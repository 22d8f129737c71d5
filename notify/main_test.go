package notify

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/renewer"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "deliver":
			if Deliver(os.Stdin, os.Stdout) != nil {
				os.Exit(1)
			}
			os.Exit(0)
		case "mortal":
			mortal(os.Args[2], os.Args[3])
		}
	}
	goleak.VerifyTestMain(m)
}

// memory is a log and the states of channels, for tests without a disk.
type memory struct {
	mu     sync.Mutex
	events []renewer.Event
	states map[string][]byte
	broken error
	saves  int
}

func newMemory() *memory { return &memory{states: map[string][]byte{}} }

func (m *memory) add(events ...renewer.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		e.Seq = uint64(len(m.events)) + 1
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		m.events = append(m.events, e)
	}
}

func (m *memory) breaks(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *memory) EventsAfter(after uint64, limit int) ([]renewer.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := min(int(after), len(m.events))
	return slices.Clone(m.events[from:min(from+limit, len(m.events))]), m.broken
}

func (m *memory) LastSeq() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.events)), m.broken
}

func (m *memory) Channels() (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.states {
		names = append(names, name)
	}
	return names, m.broken
}

func (m *memory) LoadChannel(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[name], m.broken
}

func (m *memory) SaveChannel(name string, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.saves++
	if m.states[name] = state; state == nil {
		delete(m.states, name)
	}
	return nil
}

// unchecked is what senders of tests have no need of.
type unchecked struct{}

func (unchecked) Check(context.Context, bool) error { return nil }

// inbox is who gets the messages; fail may refuse one.
type inbox struct {
	unchecked
	mu   sync.Mutex
	got  []Message
	fail func(try int) error
	seen func(Message) // every attempt
	try  int
}

func (i *inbox) Send(_ context.Context, m Message) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.try++
	if i.seen != nil {
		i.seen(m)
	}
	if i.fail != nil {
		if err := i.fail(i.try); err != nil {
			return err
		}
	}
	i.got = append(i.got, m)
	return nil
}

func (i *inbox) messages() []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got)
}

func (i *inbox) tries() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.try
}

// event makes an event of a certificate on a host.
func event(typ renewer.EventType, certificate, host string) renewer.Event {
	return renewer.Event{Type: typ, Certificate: certificate, Host: host, Generation: 1, Error: "it is " + string(typ), Hint: "look at " + certificate}
}

var errNo = errors.New("no")
