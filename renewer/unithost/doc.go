// Package unithost says of a systemd unit, before it is restarted, whether it would
// start again, and afterwards what it said itself.
//
//	Ask        asks systemd alone
//	Inspect    asks systemd and looks at the files that the unit needs; changes nothing
//	Doubts     turns that into reasons; pure
//	KeyDoubts  says whether its user could read the key that will be in place
//	Words      the last lines of the unit's journal, bounded and cleaned
//
// systemd is asked for the unit as it has loaded it (systemctl(1), show), because a
// restart goes by that, and not by unit files that were edited since. A reason is
// sure only where systemd itself would fail: a unit that it cannot load, a program, a
// directory or a file that its settings name and that is missing, a condition that
// does not hold, a key that the unit's user cannot read.
package unithost

import "context"

// Machine is a host as this package needs it; *hosts.Host is one.
type Machine interface {
	// Output runs an argument vector and returns what it printed; a non-zero
	// exit is an error.
	Output(ctx context.Context, argv []string) (string, error)
	// Has reports whether there is a file, or a link that leads to one.
	Has(ctx context.Context, path string) (bool, error)
	// Account looks up a user by name or number, with the numbers of all their
	// groups and of some more by name.
	Account(ctx context.Context, user string, more []string) (uid int, groups []int, err error)
}
