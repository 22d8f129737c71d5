// Package dagupeer stands in for the processes of a Dagu cluster in tests: a
// coordinator, workers and a scheduler that talk gRPC over TLS. It behaves as
// Dagu was seen to where renewing certificates is concerned:
//
//   - certificates are loaded once; nothing is read again. A worker whose files are
//     missing goes on, and tries to read them again until they are there
//   - SIGHUP ends a process without a word, but for start-all, which outlives it;
//     SIGTERM ends all at once, nothing is drained
//   - the coordinator ends work that no one sent a heartbeat for within the lease
//     of 30 s, and a worker kills a step once it reached no coordinator that long
//   - a worker has several pollers, and a run each. Steps are children of the worker,
//     and die with it; some, such as waiting, have no process
//   - a scheduler may run work itself: below children of its own
//   - clients reconnect by themselves, with a backoff of at most 15 s. Without an
//     address they dial what the coordinator advertises in a registry
//   - clients trust the system's roots beside those of their file
//   - with insecure: false and nothing else none of them starts
//   - the coordinator lists its workers in Dagu's own words (GetWorkers), those too
//     that it last saw before it was restarted
//   - HTTP /health is plaintext and content whatever the certificates are
//
// What else it says on the wire is its own. Nothing outside of tests may depend on it.
package dagupeer

import "time"

// Lease is how long work lives without a heartbeat.
const Lease = 30 * time.Second

const (
	beat       = 2 * time.Second
	maxBackoff = 15 * time.Second
)

// Run is one piece of work.
type Run struct {
	ID      string    `json:"id"`
	Seconds float64   `json:"seconds"`        // how long its step takes
	Wait    bool      `json:"wait,omitempty"` // its step has no process
	Status  string    `json:"status"`
	Worker  string    `json:"worker,omitempty"`
	Seen    time.Time `json:"seen,omitzero"` // the last heartbeat
	Why     string    `json:"why,omitempty"`
}

// The states of a run.
const (
	Queued    = "queued"
	Running   = "running"
	Succeeded = "succeeded"
	Failed    = "failed"
	Aborted   = "aborted"
)
