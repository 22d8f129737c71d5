// Package engine drives the decisions of package renewer: it orders, stages,
// activates, probes and restores, and records every transition first.
package engine

import (
	"context"
	"crypto/x509"
	"time"

	"renewer/renewer"
)

// Issuer turns an order into a chain. It is used by many goroutines at once.
type Issuer interface {
	// Sign returns the certificate for the order. Errors carry a
	// renewer.Class; retry and misconfigured are asked again later with the
	// same key, refused is not. Nothing that was returned is lost by the
	// caller, so an implementation keeps nothing.
	Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error)
	// Roots returns the roots that a peer should trust, one or more.
	Roots(ctx context.Context) ([]*x509.Certificate, error)
	// Health asks whether an order would have a chance now.
	Health(ctx context.Context) error
}

// What an issuer may be able to do besides.
type (
	// Revoker revokes what the issuer signed. Revoking it again is no error.
	Revoker interface {
		Revoke(ctx context.Context, r renewer.Revocation) error
	}
	// LogIn logs in afresh, whatever is cached, and so finds every fault of
	// the issuer's configuration that can be found without an order.
	LogIn interface {
		LogIn(ctx context.Context) error
	}
	// Clocked knows by how much the issuer's clock is ahead of ours, as its
	// last answer's Date header said; known is false before the first answer.
	Clocked interface {
		ClockOffset() (offset time.Duration, known bool)
	}
	// Succession knows under which of its roots it signs now, while its CA is
	// replaced: its last answer holds the roots before and after it as well.
	// Unknown where it cannot be read.
	Succession interface {
		SignsUnder() renewer.RootSet
	}
	// Limited knows the longest lifetime that the issuer gives, as LogIn read it.
	Limited interface {
		Longest() (l renewer.LifetimeLimit, known bool)
	}
	// Deferred may sign an order days after it came (renewer.ErrLater). The key of such
	// an order is recorded before Sign is called, so that a restart does not lose it.
	// OrderTimeout is how long a call of Sign may take; 0: as long as any other's.
	Deferred interface {
		OrderTimeout() time.Duration
	}
	// OwnLifetime is an issuer that decides how long a certificate lives: that it is less
	// than what was asked for is no fault.
	OwnLifetime interface {
		GivesLifetime() bool
	}
	// Suggests knows until when it wants a certificate renewed.
	Suggests interface {
		RenewBy(ctx context.Context, leaf *x509.Certificate) (renewer.Suggestion, error)
	}
	// Upkeep does what is due besides orders, such as replacing what the issuer
	// logs in with. What fails is tried again at a later call.
	Upkeep interface {
		Upkeep(ctx context.Context) error
	}
	// Intermediate knows the CAs that it signs with below its roots, as its
	// last answer showed them; none before that, and where a root signs.
	Intermediate interface {
		Intermediates() []*x509.Certificate
	}
)

// Can returns what an issuer can do besides, through whatever wraps it: a
// wrapper has a method Unwrap() Issuer.
func Can[T any](is Issuer) (T, bool) {
	for {
		if can, ok := is.(T); ok {
			return can, true
		}
		wrapper, ok := is.(interface{ Unwrap() Issuer })
		if !ok {
			var none T
			return none, false
		}
		is = wrapper.Unwrap()
	}
}

// Store is the inventory. Reads see the last commit; errors of the medium
// (full, read-only, damaged) are returned as they are and nothing is half
// written. Safe for many goroutines.
type Store interface {
	// Commit writes all changes in one durable transaction and returns the
	// events with their Seq.
	Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error)
	// Record returns one certificate's record; ok is false if there never was
	// one. Of a removed certificate its numbers are left, and what it was as long
	// as something of it is in place: see Departed.
	Record(name string) (rec renewer.Record, ok bool, err error)
	// Recorded returns the record and the current generation of each name, as of
	// one moment, in less time than one by one. An error says nothing of which
	// name it is about.
	Recorded(names []string) ([]renewer.Recorded, error)
	// Names returns the names of every record, sorted, without removed ones.
	Names() ([]string, error)
	// Open returns the names of the records with a rollout under way, sorted;
	// a blocked one has ended.
	Open() ([]string, error)
	// Due returns up to limit names whose Record.NextAt is not after now,
	// earliest first; those without NextAt are never due.
	Due(now time.Time, limit int) ([]string, error)
	// NextDue returns the head of the due index: the earliest NextAt.
	NextDue() (at time.Time, ok bool, err error)
	// Generation returns one generation; ok is false if there is none.
	Generation(name string, number int) (g renewer.Generation, ok bool, err error)
	// Generations returns all generations of a name, newest first.
	Generations(name string) ([]renewer.Generation, error)
	// Key returns the sealed private key of a generation, which is there as long
	// as Record.NeedsKey says.
	Key(certificate string, generation int) (sealed []byte, ok bool, err error)
	// Roots returns the DER of every root that was put with a change.
	Roots() ([][]byte, error)
	// Departed returns what certificates that left the fleet file have in place
	// still.
	Departed() (map[string][]renewer.Departed, error)
	// Rows calls yield for the row of each certificate, soonest NotAfter
	// first, from the index alone, until yield returns false or NotAfter is
	// not before until (zero: no limit). Rows without NotAfter come last.
	Rows(until time.Time, yield func(renewer.Row) bool) error
	// Rollout returns an ended rollout, by its ID.
	Rollout(id string) (r renewer.Rollout, ok bool, err error)
	// Events returns events with Seq > after that match, oldest first.
	Events(f renewer.EventFilter) ([]renewer.Event, error)
	// Release gives memory back that is not needed before the next read.
	Release()
}

// Change and what hosts and probers hand over are part of the domain, so that
// none of them has to know this package.
type (
	Change       = renewer.Change
	Staged       = renewer.Staged
	Activated    = renewer.Activated
	OnDisk       = renewer.OnDisk
	ProbeRequest = renewer.ProbeRequest
	Observation  = renewer.Observation
)

// Host is a machine to place certificates on. Everything is idempotent: after
// an error or a crash the same call is made again. Calls for several
// placements may run at once. An error says what was done to which path. What looks
// at or changes a directory that another renewer keeps fails with renewer.ErrKept, and
// nothing is done.
type Host interface {
	// Stage writes content beside what is live, as
	// DIR/.renewer/CERT/rN-HASH8, and finds an equal one that is there
	// already. Plain files under the placement's names are copied to r0-HASH8
	// as the way back. What is live does not change.
	// Owner and group default to the User= of the unit that is activated,
	// else to root with sudo, else to the login or process user.
	Stage(ctx context.Context, p renewer.Placement, content map[renewer.FileKind][]byte) (Staged, error)
	// Flip makes a revision live by one atomic rename and makes every name a
	// link to it; a reader never sees a missing name or a torn pair.
	Flip(ctx context.Context, p renewer.Placement, revision string) error
	// Activate makes the service load what is live.
	Activate(ctx context.Context, a renewer.Activation) (Activated, error)
	// Running says what of the service that an activation is for does not run;
	// empty where all of it does, or that is not known. Asking changes nothing.
	Running(ctx context.Context, a renewer.Activation) (stopped string, err error)
	// Whole reports whether a revision is there as it was written.
	Whole(ctx context.Context, p renewer.Placement, revision string) (bool, error)
	// Locate returns the newest revision whose leaf has the fingerprint;
	// ok is false if the host has none that is whole.
	Locate(ctx context.Context, p renewer.Placement, fingerprint string) (revision string, ok bool, err error)
	// ReadKey returns the private key of a revision as PEM.
	ReadKey(ctx context.Context, p renewer.Placement, revision string) ([]byte, error)
	// Inspect looks at the live files.
	Inspect(ctx context.Context, p renewer.Placement) (OnDisk, error)
	// Adopt hands what is seen through the placement's names to check and, if
	// that has no objection, makes sure that a whole revision holds it: the live
	// one, or else a copy as r0-HASH8. No live name is touched.
	Adopt(ctx context.Context, p renewer.Placement, check func(map[renewer.FileKind][]byte) error) (revision string, err error)
	// Keep marks the placement's directory as kept by this renewer, unless another
	// one keeps it.
	Keep(ctx context.Context, p renewer.Placement) error
	// Prune removes all revisions but the live one and those named.
	Prune(ctx context.Context, p renewer.Placement, keep []string) error
	// Run runs an argument vector on the host; a non-zero exit is an error
	// that holds the end of its output.
	Run(ctx context.Context, argv []string) error
	// Clock returns the time that the host's own clock shows.
	Clock(ctx context.Context) (time.Time, error)
	// Docker looks at the Docker daemon of the host and its containers; those
	// with the label are counted too, all if it is empty.
	Docker(ctx context.Context, label string) (renewer.DockerState, error)
	// Work looks, in the way that the placement's guard for Dagu says, at what
	// is under way in the service that the placement activates.
	Work(ctx context.Context, p renewer.Placement) (renewer.Work, error)
	// Check reports whether the host can be reached.
	Check(ctx context.Context) error
}

// Prober looks at what is served, once, without retries of its own. The
// observation is filled as far as it got even when there is an error:
// Served is set and different from the fingerprint for a stale certificate,
// and empty where nothing could be reached. The error is a renewer.ProbeError,
// or another one where the host could not be looked at at all: that says
// nothing about its certificate.
type Prober interface {
	Probe(ctx context.Context, r ProbeRequest) (Observation, error)
}

// Keys seals private keys for the store, each for one generation of one
// certificate.
type Keys interface {
	Seal(certificate string, generation int, pem []byte) (renewer.SealedKey, error)
	// Open returns what was sealed; ok is false if that is damaged, or was sealed
	// with a key that is lost: it is as if it were not there.
	Open(certificate string, generation int, sealed []byte) (pem []byte, ok bool, err error)
}

// Window says when activation is allowed.
type Window interface {
	// At reports whether the window is open at t, and when it opens next.
	At(t time.Time) (open bool, next time.Time)
}
