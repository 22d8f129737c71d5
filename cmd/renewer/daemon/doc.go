// Package daemon puts the parts together: it opens the state that a fleet file
// names, builds issuers, hosts and the engine from it, and runs them as a
// daemon, for one pass, or for one command.
package daemon
