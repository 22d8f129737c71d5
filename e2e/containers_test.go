//go:build e2e

package e2e

import (
	"context"
	"testing"

	"renewer/internal/testdocker"
	"renewer/internal/testhosts"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

// image is a busybox with a shell, for the scripts of the suite.
const image = `set -eu
dir=$(mktemp -d)
mkdir "$dir/bin"
cp /usr/bin/busybox "$dir/bin/"
for name in sh sleep touch true echo '['; do ln -s busybox "$dir/bin/$name"; done
tar -C "$dir" -c . | docker import - suite >/dev/null
rm -r "$dir"`

// real is the Docker daemon of a host, activated over SSH.
type real struct {
	*hosts.Host
	machine *testhosts.Host
	t       *testing.T
}

func (r real) Activate(ctx context.Context, a renewer.Activation) (renewer.Activated, error) {
	return r.Host.Activate(ctx, a)
}

func (r real) Started(name string) string {
	return run(r.t, r.machine, "docker", "inspect", "--format={{.State.StartedAt}}", name)
}

// TestContainers runs the suite of activations against a real dockerd, and says
// what is said of one that is stopped.
func TestContainers(t *testing.T) {
	b := testhosts.Start(t, "host-b")[0]
	run(t, b, "sh", "-c", image)
	for name, script := range testdocker.Script {
		argv := []string{"docker", "run", "--detach", "--network=none", "--stop-signal=KILL", "--name=" + name}
		if check := testdocker.Check[name]; check != "" {
			argv = append(argv, "--health-cmd="+check, "--health-interval=500ms", "--health-retries=1")
		}
		run(t, b, append(argv, "suite", "/bin/sh", "-c", script)...)
	}
	run(t, b, "docker", "kill", testdocker.Stopped)
	run(t, b, "docker", "pause", testdocker.Paused)

	tr := remote.NewClient(remote.Options{Home: t.TempDir()}).Transport(remote.Config{
		Name: b.Name, Address: b.Address, User: testhosts.User, Sudo: true, IdentityFile: b.IdentityFile, KnownHostsFile: b.KnownHosts,
	})
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	h := hosts.New(renewer.Host{Name: b.Name}, tr)
	testdocker.Suite(t, real{h, b, t})

	run(t, b, "systemctl", "stop", "docker.socket", "docker.service")
	did, err := h.Activate(t.Context(), renewer.Activation{Kind: renewer.ActivateDocker, Container: testdocker.Steady, Action: "restart"})
	if err != nil {
		t.Error(err)
	}
	expect(t, did.NotRunning, "the Docker daemon (inactive)")
}
