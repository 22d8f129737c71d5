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
	// TrustedBy had the old root in its ca file, or loaded, when it was over: it was gone on
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
