package renewer

import (
	"errors"
	"strings"
)

// Worker is a Dagu worker, as a coordinator lists it.
type Worker struct {
	ID    string
	Tasks int
	Heard uint64 // its last heartbeat, in seconds of the coordinator's clock
	Live  bool   // the coordinator takes it for connected
}

// Name is what a worker keeps when it is started again: its worker.id or, of one that
// has none and is called HOSTNAME@PID, its host.
func (w Worker) Name() string {
	host, pid, ok := strings.Cut(w.ID, "@")
	if ok && pid != "" && strings.Trim(pid, "0123456789") == "" {
		return host
	}
	return w.ID
}

// ErrNotDagu says that what was asked for its workers is no coordinator.
var ErrNotDagu = errors.New("not a Dagu coordinator")
