package renewer

import "time"

// Staged is what staging a placement found and wrote.
type Staged struct {
	Revision string // the revision that now lies beside what is live
	Previous string // the live revision; r0-… for files to be taken over; empty for none
	Live     bool   // Revision is the live one already
}

// Activated is what activating did.
type Activated struct {
	// NotRunning names what does not run and was therefore left alone:
	// a service that somebody stopped is not started. Empty: all ran.
	NotRunning string
}

// OnDisk is what the live names of a placement hold.
type OnDisk struct {
	Revision string    // where current leads; empty for plain files or none
	Leaf     string    // SHA-256 of the leaf, hex; empty if there is no certificate
	NotAfter time.Time // of the leaf
	Trust    string    // TrustDigest of the ca file; empty if there is none
	Problems []string  // what differs from the placement: missing, mode, owner, key does not match, not our link, …
}
