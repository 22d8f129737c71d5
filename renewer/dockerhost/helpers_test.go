package dockerhost

import (
	"io/fs"
	"strings"
	"testing"

	"renewer/renewer"
)

const (
	debianUnit = `[Unit]
Description=Docker Application Container Engine
Requires=docker.socket

[Service]
Type=notify
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
ExecReload=/bin/kill -s HUP $MAINPID
`
	ceUnit = `[Service]
Type=notify
# the default is not to use systemd for cgroups
ExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock
ExecReload=/bin/kill -s HUP $MAINPID
`
	unitPath   = "/lib/systemd/system/docker.service"
	dropInPath = "/etc/systemd/system/docker.service.d/renewer.conf"
)

func placement() renewer.Placement {
	return renewer.Placement{
		Certificate: "docker@host-b", Host: "host-b", Dir: "/etc/docker/tls",
		Files:    map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "server-cert.pem", renewer.FileKey: "server-key.pem"},
		Modes:    map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
		Activate: renewer.Activation{Kind: renewer.ActivateSystemd, Units: []string{"docker.service"}, Action: "restart"},
		Probe:    renewer.Probe{Kind: renewer.ProbeDocker, Address: "10.0.1.2:2376", Mutual: true},
	}
}

func file(path, text string) File { return File{Path: path, Exists: true, Mode: 0o644, Text: text} }

// fresh is a machine as after the installation of a package, with the
// certificate placed.
func fresh(unit string) Facts {
	return Facts{
		Disk:   renewer.OnDisk{Revision: "r1-00000000", Leaf: "aa", Trusts: renewer.NewRootSet("bb")},
		Unit:   Unit{Name: "docker.service", Load: "loaded", Active: "active", Sub: "running", Result: "success", Files: []File{file(unitPath, unit)}},
		Daemon: File{Path: DaemonJSON},
		DropIn: File{Path: dropInPath},
		Docker: renewer.DockerState{Running: true},
	}
}

// done is what a plan that was carried out leads to.
func done(f Facts, plan renewer.HostPlan) Facts {
	for _, c := range plan.Changes {
		switch c.Path {
		case f.Daemon.Path:
			f.Daemon = file(c.Path, c.After)
		case dropInPath:
			f.DropIn = file(dropInPath, c.After)
		}
	}
	if plan.Restart {
		f.Unit.Active, f.Unit.Sub, f.Unit.Stale = "active", "running", false
		f.Docker.Running, f.Docker.LiveRestore = true, !f.Swarm
		f.Listening = []string{"*:2376"}
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
	if renewer.Hint(err) == "" {
		t.Errorf("error %q has no hint", err)
	}
}
