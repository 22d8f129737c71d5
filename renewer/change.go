package renewer

// Change is everything that one transition writes for one certificate. All
// parts are written in one transaction, or none.
type Change struct {
	Record     *Record     // put; Latest and Rollouts never fall
	Row        *Row        // put with Record: what lists show; nil: as it was, or made from the first record
	Generation *Generation // put; a number keeps its certificate for ever
	// Key is put as long as the certificate's record needs it (NeedsKey), and
	// deleted with the change after which it does not.
	Key      *SealedKey
	Roots    [][]byte        // DER; put where they are not known
	Closed   *Rollout        // archived: it has ended
	Rotation *RotationRecord // put: the last rotation of the CA of an issuer
	// Remove names a certificate that left the fleet file: after the parts
	// above it goes out of every list; its generations, rollouts and events
	// stay, and its numbers go on if it comes back.
	Remove string
	Events []Event // appended; Seq is given by the store, and Time where it is zero
}

// RotationRecord is the replacement of an issuer's CA as package rotation writes it.
type RotationRecord struct {
	Issuer string
	Record []byte
}
