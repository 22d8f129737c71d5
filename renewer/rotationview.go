package renewer

import "time"

// RotateRequest asks for something about the replacement of an issuer's CA. With
// none of the switches it begins one.
type RotateRequest struct {
	Issuer      string        `json:"issuer"`
	Kind        string        `json:"kind"`          // rotate, import or reissue: what the next CA is
	Key         KeyType       `json:"key,omitempty"` // of the next CA; default: as the signing one
	Lifetime    time.Duration `json:"lifetime,omitempty"`
	Now         bool          `json:"now,omitempty"`
	Compromised bool          `json:"compromised,omitempty"`
	Without     []string      `json:"without,omitempty"`
	Keep        time.Duration `json:"keep,omitempty"`
	Wait        bool          `json:"wait,omitempty"`

	Cancel     bool `json:"cancel,omitempty"`
	DestroyOld bool `json:"destroy_old,omitempty"`
	Plan       bool `json:"plan,omitempty"` // only say what it would do
}

// RotationCA is one of the two CAs of a rotation.
type RotationCA struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint_sha256"`
	Key         string    `json:"key"`
	NotAfter    time.Time `json:"not_after"`
}

// RotationView is the replacement of an issuer's CA, as people see it.
type RotationView struct {
	Issuer      string     `json:"issuer"`
	Kind        string     `json:"kind"`
	Why         string     `json:"why"`
	Stage       string     `json:"stage"`
	Since       time.Time  `json:"since,omitzero"` // of the stage
	From        RotationCA `json:"from"`
	To          RotationCA `json:"to"`
	Compromised bool       `json:"compromised,omitempty"`
	Without     []string   `json:"without,omitempty"`
	KeepUntil   time.Time  `json:"keep_until,omitzero"`
	StartedAt   time.Time  `json:"started_at,omitzero"`
	SwitchedAt  time.Time  `json:"switched_at,omitzero"`
	EndedAt     time.Time  `json:"ended_at,omitzero"`
	// Waiting is what the stage waits for, and Ends what ends that.
	Waiting []string `json:"waiting,omitempty"`
	Ends    string   `json:"ends,omitempty"`
	Blocked bool     `json:"blocked,omitempty"` // it needs manual action
	// LeftBehind is what hosts that it went on without have still of the old CA.
	LeftBehind []string `json:"left_behind,omitempty"`
	OldKey     string   `json:"old_key,omitempty"` // kept or destroyed, once signing is switched
	// TrustedNowhere is how many seconds it took from the command until no managed
	// ca file held the root of the compromised CA any more; 0: not yet, or not compromised.
	TrustedNowhere float64 `json:"trusted_nowhere_seconds,omitempty"`
	// TrustedBy had the old root in its ca file, or loaded, when it ended: it was gone on
	// without, had left the fleet file, its service is stopped or hangs, or it needs it for
	// another issuer.
	TrustedBy []string `json:"trusted_by,omitempty"`
	SameRoot  bool     `json:"same_root,omitempty"` // it is above both CAs, and stays trusted

	Plan     []RotationStep `json:"plan,omitempty"`
	Breaks   []string       `json:"breaks,omitempty"`   // who will refuse whom
	Warnings []string       `json:"warnings,omitempty"` // what renewer does not know
}

// RotationStep is one stage of a rotation before it begins.
type RotationStep struct {
	Stage      string   `json:"stage"`
	What       string   `json:"what"`
	Placements int      `json:"placements"`
	Hosts      []string `json:"hosts"`
	Restarts   int      `json:"restarts"`
	When       string   `json:"when"`
}

// CAInfo describes a CA.
type CAInfo struct {
	Issuer      string    `json:"issuer"`
	Subject     string    `json:"subject"`
	Root        string    `json:"root"` // Subject, if the CA is self-signed
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint_sha256"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Key         string    `json:"key"`           // ecdsa-p256, rsa-4096, ed25519, …
	PathLen     int       `json:"path_length"`   // CAs allowed below it; -1: no limit
	Encrypted   bool      `json:"key_encrypted"` // in its file
	CanSignCRL  bool      `json:"can_sign_crl"`  // keyUsage has cRLSign (RFC 5280, section 6.3.3 f)
	Limits      []string  `json:"limits"`        // what it may sign, where that is not everything
	StrictPeers []string  `json:"strict_peers"`  // why peers that verify strictly refuse it: see pki.StrictFaults
	LeftOut     []string  `json:"left_out,omitempty"`
}

// OtherCA is a CA of an issuer that does not sign now.
type OtherCA struct {
	Role        string    `json:"role"` // next or old
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint_sha256"`
	NotAfter    time.Time `json:"not_after"`
	Key         string    `json:"key"` // kept or destroyed
}

// CAView is the CA of a local issuer, those before and after it, and how its replacement
// stands: nil where there never was one.
type CAView struct {
	CAInfo
	StrictFix string        `json:"strict_fix,omitempty"` // has strict peers accept it
	Others    []OtherCA     `json:"others,omitempty"`
	Rotation  *RotationView `json:"rotation,omitempty"`
	Fault     string        `json:"fault,omitempty"` // what cannot be read of all that
	Hint      string        `json:"hint,omitempty"`
}
