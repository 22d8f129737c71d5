package renewer

// Change is everything that one transition writes for one certificate. All
// parts are written in one transaction, or none; those that are set are
// written in this order.
type Change struct {
	Record     *Record     // put; nil: unchanged
	Row        *Row        // put with Record: what lists show; nil: unchanged, or made from the record if there is none yet
	Generation *Generation // put
	Closed     *Rollout    // put into the history of rollouts
	Remove     string              // name of a certificate that left the fleet file: out of every list; its generations stay
	Events     []Event     // appended; Seq is given by the store
}
