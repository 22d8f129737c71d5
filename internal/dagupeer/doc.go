// Package dagupeer stands in for the processes of a Dagu cluster in tests: a
// coordinator, workers and a scheduler that talk gRPC over TLS. It behaves as
// Dagu was seen to where renewing certificates is concerned:
//
//   - certificates are loaded once, at the start; nothing is read again
//   - SIGHUP ends a process without a word, SIGTERM at once, nothing is drained
//   - the coordinator ends work that nobody sent a heartbeat for within the lease
//     of 30 s, and a worker kills a step once it reached no coordinator that long
//   - steps are children of the worker, and die with it
//   - clients reconnect by themselves, with a backoff of at most 15 s
//   - HTTP /health is plaintext and content whatever the certificates are
//
// What it says on the wire is its own. Nothing outside of tests may depend on it.
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
	Seconds float64   `json:"seconds"` // how long its step takes
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
