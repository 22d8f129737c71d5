// Package configs reads the fleet file: the YAML that says which certificates
// should be where.
//
// Reading is strict. A key that is not known, a value of the wrong kind, a
// name that leads nowhere: each is a Fault with its line and column and with
// what was expected, and all faults of a file come back together. A *Fleet is
// only ever returned whole, with every default filled in, so that no caller
// has to know one.
//
// A setting of a certificate is looked for in its entry, then under
// defaults, then in its profile, then among the built-in defaults. Files and
// modes are merged key by key in that order; every other setting replaces the
// one below it.
//
// The profiles that come with renewer are data: profiles.yaml, read by the
// same code as those that a user writes.
package configs
