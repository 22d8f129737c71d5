package hosts

import "testing"

// machines are the ways to reach a machine that placement is tested over.
var machines = map[string]func(t testing.TB) Machine{
	"local": func(testing.TB) Machine { return &here{} },
}

// AlsoOver has placement tested over one more transport, by a package that
// imports this one.
func AlsoOver(name string, start func(t testing.TB) Machine) { machines[name] = start }

// Machine is this machine, reached in some way.
type Machine interface {
	// Open returns a transport with a root. The one who opens it closes it.
	Open(root string) Transport
	// Break returns one that fails at its nth operation, 0 for never, and
	// calls look after each operation from there on, the failed one included.
	Break(root string, at int, way string, look func(op string)) (Transport, *Count)
	// Injected is wrapped by the error of the operation that fails.
	Injected() error
	// Every says of how many operations that write one is failed, 1 for all;
	// of the others it is its square. RENEWER_TEST_EVERY_FAULT=1 tries all.
	Every() int
	// Repair lets a transport that was broken work again.
	Mend(Transport) Transport
}

// Count tells of the operations of a transport.
type Count struct {
	Ops    int
	Wrote  []int // which of them changed something
	Within []int // which of them PauseWithin knows
}

// The ways to fail: one operation has no effect and everything works again
// after it; or it has its effect, the answer is lost, and nothing works any
// more. A crash before an operation is one after the last that wrote.
const (
	Once  = "once"
	Crash = "crash"
)

// Pause is no failure: look is called, and the operation goes on. PauseWithin is the
// same in the middle of a rename, where there is such a moment: the directories
// are looked up, and nothing is renamed yet.
const (
	Pause       = "pause"
	PauseWithin = "pause within"
)

// here is this machine without anything in between.
type here struct{}

func (here) Open(root string) Transport { return Local(root) }
func (here) Every() int                 { return 1 }
func (here) Injected() error            { return errInjected }

func (here) Break(root string, at int, way string, look func(op string)) (Transport, *Count) {
	f := &faults{Transport: Local(root), at: at, way: way, look: look}
	return f, &f.Count
}

// Repair: a process that starts again.
func (here) Mend(t Transport) Transport { return &faults{Transport: t.(*faults).Transport} }
