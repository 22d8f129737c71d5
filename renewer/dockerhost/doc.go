// Package dockerhost makes a machine's Docker daemon serve its API over mutual
// TLS with the files of a placement, and says what is wrong where it does not.
//
//	Inspect   looks at a machine and changes nothing
//	Plan      compares what was seen with what is needed; pure
//	Setup     carries a plan out, or puts everything back
//	Diagnose  turns what was seen into findings, each with its fix; pure
//
// # Who says what
//
// dockerd refuses to start when a directive is given both as a flag and in
// daemon.json (dockerd(8)), and packages start it with -H flags. So there is
// one place for each: daemon.json has the TLS settings and live-restore, and
// everything else that it had; the listening addresses are flags, in a drop-in
// of the unit (systemd.unit(5)) called renewer.conf. What stands in the other
// place is moved or dropped there, and named in the plan's notes.
//
// The drop-in repeats the unit's own command with its other flags. It is made
// from the unit's other files each time, so that a plan made twice is the same,
// and one made after an upgrade of the package shows what changed.
//
// dockerd listens on all addresses of the machine. One address alone would be
// tighter, but is wrong behind NAT, keeps dockerd from starting as long as its
// interface is not up, and leaves out 127.0.0.1, which the profile's names
// have for tests on the machine itself. Clients without a certificate are
// refused, and the notes say which line a firewall needs, or WithWall writes it: a unit
// of its own, before Docker's, lets the known clients alone to the port.
//
// # Containers
//
// live-restore is part of every plan, but in a swarm, where dockerd refuses
// it. It is switched on in the running daemon, by a reload, before the first
// restart: from then on a restart leaves containers alone. Where that does not
// work and containers run, nothing is done unless it is forced.
//
// # The way back
//
// Whatever fails, from the first write to the proof, is followed by all files
// as they were, daemon-reload, reset-failed (a unit at its start limit stays
// down, however good its files are) and one restart. While containers run that
// restart still has live-restore on; only then daemon.json gets its old bytes.
// The error says what failed, and whether all is back. Copies of what was
// there stay beside the files as FILE.renewer-backup-TIME.
package dockerhost
