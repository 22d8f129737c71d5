// Package server carries the service over a unix socket and shows metrics,
// health and the status page over HTTP.
package server

import (
	"context"
	"io"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// FleetFile is the fleet file that holds.
type FleetFile struct {
	Path  string            `json:"path"`
	Read  map[string]string `json:"read"`            // the files that were last read, with their configs.Stamp of then
	Fault string            `json:"fault,omitempty"` // of that reading: an older one holds
	// Unusable is what is wrong now with files of roots that trust: names.
	Unusable []string `json:"unusable,omitempty"`
}

// Service is everything that commands ask of renewer. What a name stands for is
// the Service's to say: errors about names have the class renewer.ClassUnknown.
// The daemon serves it on
// its socket, Client speaks it from the other end, and a command without a
// daemon opens the state and gets the same thing in process: so every command
// works the same way in both cases.
type Service interface {
	// List calls yield for each certificate that matches, soonest expiry first.
	List(ctx context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error
	// Show returns one certificate by a name that stands for no other.
	Show(ctx context.Context, name string) (renewer.Detail, error)
	Status(ctx context.Context) (renewer.SystemStatus, error)
	// Plan returns what a run would do now, and changes nothing.
	Plan(ctx context.Context, r renewer.PlanRequest) (renewer.PlanView, error)
	// Forecast simulates the time ahead, and changes nothing.
	Forecast(ctx context.Context, r forecast.Request) (forecast.Forecast, error)
	// RunOnce makes one pass over everything that is due and probes every placement.
	RunOnce(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error)
	// Renew starts rollouts, calls progress for each of their events and,
	// unless NoWait, returns when all have ended or only wait.
	Renew(ctx context.Context, r renewer.RenewRequest, progress func(renewer.Event)) (renewer.RunResult, error)
	// Rollback restores the previous generation, activates and probes it.
	Rollback(ctx context.Context, name string, progress func(renewer.Event)) (renewer.RunResult, error)
	// Adopt records the certificate in place on a host as generation 0, after its
	// files and a probe pass all checks. It changes nothing on the host.
	Adopt(ctx context.Context, host, certificate string) (renewer.Adoption, error)
	// TakeOver makes this renewer the owner of the directories of a host (all hosts
	// for an empty name), also of those that another renewer owns.
	TakeOver(ctx context.Context, host string) ([]renewer.TakenOver, error)
	// Revoke revokes the named certificates at their issuer. A certificate that could
	// not be revoked has an error in its own entry; the error is about the request.
	Revoke(ctx context.Context, r renewer.RevokeRequest, progress func(renewer.Event)) ([]renewer.Revoked, error)
	// Rotate begins, or changes, the replacement of the CA of a local issuer, and
	// returns its state. With Wait it returns when the rotation is done or needs manual action.
	Rotate(ctx context.Context, r renewer.RotateRequest, progress func(renewer.Event)) (renewer.RotationView, error)
	// CA describes the CA of a local issuer, the only one for an empty name, and how its
	// replacement stands. What cannot be read of it is in the answer.
	CA(ctx context.Context, issuer string) (renewer.CAView, error)
	// Verify probes every placement of the names (all if none) now.
	Verify(ctx context.Context, names []string) ([]renewer.Verification, error)
	// Trust returns who accepts whom, from what is in place.
	Trust(ctx context.Context, r renewer.TrustRequest) (renewer.Trust, error)
	// Impact returns who would refuse whom.
	Impact(ctx context.Context, r renewer.ImpactRequest) (renewer.Impact, error)
	// DropRoot removes a foreign root from the ca files, by fingerprint, a prefix of
	// one, or subject. It refuses a root that a certificate in place needs.
	DropRoot(ctx context.Context, root string) (renewer.RootDropped, error)
	// Forget stops tracking certificates that left the fleet file and are in place.
	Forget(ctx context.Context, r renewer.ForgetRequest) ([]renewer.Forgotten, error)
	// HostPlan returns what a host needs to serve the Docker API over TLS.
	HostPlan(ctx context.Context, r renewer.SetupRequest) (renewer.HostPlan, error)
	// HostSetup places the certificate and carries out the plan, if its digest still
	// matches. If it fails, all changes are rolled back.
	HostSetup(ctx context.Context, r renewer.SetupRequest, progress func(renewer.Event)) (renewer.HostPlan, error)
	// Doctor diagnoses one host, or all and the inventory for an empty name.
	Doctor(ctx context.Context, host string) ([]renewer.Finding, error)
	Events(ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error)
	// FleetFile returns the fleet file in use, which may differ from the one on disk.
	FleetFile(ctx context.Context) (FleetFile, error)
	// NotifyTest sends one message through a channel.
	NotifyTest(ctx context.Context, channel string) error
	// Backup writes a consistent copy of the inventory, without keys.
	Backup(ctx context.Context, w io.Writer) error
}
