// Package daguhost says what is wrong with the peer TLS of a Dagu process, by
// the troubleshooting entries of Dagu's page on distributed transport security.
//
//	InspectAll  looks at the units of a placement and changes nothing
//	Doubts      says why a start with them might fail; pure
//	Diagnose    turns what was seen into findings, each with its fix; pure
//
// The settings of a process are put together as Dagu does it: flags win over
// DAGU_PEER_* in the environment, which wins over config.yaml. They are those
// that the unit's next start gets; of the environment nothing else is kept.
package daguhost

import (
	"context"
	"io/fs"
)

// Machine is a host as this package needs it; *hosts.Host is one.
type Machine interface {
	// ReadFile returns a file; fs.ErrNotExist if there is none.
	ReadFile(ctx context.Context, path string) ([]byte, fs.FileMode, error)
	// Has reports whether there is a file, or a link that leads to one.
	Has(ctx context.Context, path string) (bool, error)
	// Output runs an argument vector and returns what it printed; a non-zero
	// exit is an error.
	Output(ctx context.Context, argv []string) (string, error)
}
