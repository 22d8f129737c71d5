package dockerhost

import (
	"context"
	"io/fs"
	"path"
	"time"

	"renewer/renewer"
)

// Machine is a host as this package needs it; *hosts.Host is one. Paths are
// absolute. Errors say what was done to which file on which host.
type Machine interface {
	// ReadFile returns a file and its mode, with fs.ModeSymlink where the name
	// is a link; fs.ErrNotExist if there is none.
	ReadFile(ctx context.Context, path string) ([]byte, fs.FileMode, error)
	// WriteFile replaces a file at once, and makes its directory.
	WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error
	// Remove removes a file; it is no error if there is none.
	Remove(ctx context.Context, path string) error
	// Has reports whether there is a file, or a link.
	Has(ctx context.Context, path string) (bool, error)
	// Output runs an argument vector and returns what it printed; a non-zero
	// exit is an error.
	Output(ctx context.Context, argv []string) (string, error)
	// Docker asks the Docker daemon; one that does not run is no error.
	Docker(ctx context.Context, label string) (renewer.DockerState, error)
	// Containers lists those that run and have something mounted that is in a directory
	// of the host's, or that it is in.
	Containers(ctx context.Context, dir string) ([]renewer.Container, error)
	// Inspect looks at the live files of a placement.
	Inspect(ctx context.Context, p renewer.Placement) (renewer.OnDisk, error)
	// Room tells how much is left on the file system of a directory.
	Room(ctx context.Context, dir string) (renewer.Room, error)
	// Clock returns the machine's time, in whole seconds.
	Clock(ctx context.Context) (time.Time, error)
}

// Where things are (dockerd(8), systemd.unit(5)).
const (
	DaemonJSON  = "/etc/docker/daemon.json"
	defaultUnit = "docker.service"
	dropInName  = "renewer.conf"
	localSocket = "unix:///var/run/docker.sock"
)

// unitOf is the unit that runs dockerd: the one that the placement activates.
func unitOf(p renewer.Placement) string {
	if p.Activate.Kind == renewer.ActivateSystemd && len(p.Activate.Units) > 0 {
		return p.Activate.Units[0]
	}
	return defaultUnit
}

// DropIn is the path of the drop-in for a placement.
func DropIn(p renewer.Placement) string {
	return path.Join("/etc/systemd/system", unitOf(p)+".d", dropInName)
}

func systemctl(args ...string) []string {
	return append([]string{"systemctl", "--no-ask-password", "--no-pager"}, args...)
}
