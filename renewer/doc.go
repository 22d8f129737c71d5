// Package renewer is the domain of the certificate renewal daemon: what a
// fleet wants, what was issued, what is in place, and what has to happen next.
// It decides and never acts: no file, no network, no clock of its own.
//
// # Words
//
// A certificate is a named entry of the fleet file. An issuer turns one order
// into a chain. Every issued certificate of a name is a generation, numbered
// from 1. A placement is one certificate on one host. A rollout brings one
// generation to all its placements: stage (write beside what is live),
// activate (flip, then restart or signal), probe (look at what is served) and,
// when the probe fails, restore (flip back and activate again). Drift is a
// probe that sees something else than the inventory says. Blocked means that
// only an operator can go on.
//
// # Promise
//
// A certificate with status valid is the one that the last probe of each of
// its hosts saw, and no decision of this package leaves a service on a
// generation that failed its probe while an earlier one is there to go back to.
package renewer
