package renewer

import "errors"

// Worker is a Dagu worker, as a coordinator lists it.
type Worker struct {
	ID    string
	Tasks int
	Heard uint64 // its last heartbeat, in seconds of the coordinator's clock
	Live  bool   // the coordinator takes it for connected
}

// ErrNotDagu: what was asked for its workers is no coordinator.
var ErrNotDagu = errors.New("it is no Dagu coordinator")
