// Package configs reads the fleet file: the YAML that says which certificates
// should be where.
//
// Reading is strict. A key that is not known, or whose machinery is to come
// (later.go), a value of the wrong kind, a name that leads nowhere: each is a
// Fault with its line and column and with what was expected, and all faults of
// a file come back together. A *Fleet is only ever returned whole, with every
// default filled in, so that no caller has to know one.
//
// A fleet file may include others (include.go). Each is read by a loader of its
// own, all at once, and their sections are joined before anything is resolved.
// A fault has the file, line and column of what it is about; where one could
// not be read, only what was found up to there is said.
//
// A setting of a certificate is looked for in its entry, then under
// defaults, then in its profile, then among the built-in defaults. Files,
// modes and reloads are merged key by key in that order; every other setting
// replaces the one below it.
//
// SocketOf, Stamp and Digest look at a fleet file without reading all of it.
//
// The profiles that come with renewer are data: profiles.yaml, read by the
// same code as those that a user writes.
package configs
