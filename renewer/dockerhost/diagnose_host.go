package dockerhost

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"renewer/renewer"
)

func reach(c Case) verdict {
	switch {
	case c.Err == nil:
		return fine("the host can be reached and inspected")
	case isSudo(c.Err):
		return verdict{}
	}
	fix := renewer.Hint(c.Err)
	if fix == "" {
		fix = "renewer check --online tests the connection only"
	}
	return bad(fix, "%v", c.Err)
}

// isSudo reports whether rights are what is missing (sudo(8)).
func isSudo(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, fs.ErrPermission) {
		return true
	}
	for _, said := range []string{"a password is required", "permission denied", "not in the sudoers", "may not run sudo", "is not allowed to execute", "sudo: command not found", "ccess denied", "nteractive authentication required"} {
		if strings.Contains(err.Error(), said) {
			return true
		}
	}
	return false
}

func sudo(c Case) verdict {
	err := c.Err
	if err == nil {
		err = c.Facts.DockerErr
	}
	switch {
	case isSudo(err):
		fix := renewer.Hint(err)
		if fix == "" {
			fix = "set sudo: true for the host, and allow the user to run renewer's commands with sudo without a password: renewer host sudoers " + c.Placement.Host + " prints the lines"
		}
		return bad(fix, "permissions are missing: %v", err)
	case c.Err != nil:
		return verdict{}
	}
	return fine("renewer has the permissions that it needs")
}

// maxSkew is what certificates of short life bear: they are backdated a minute.
const maxSkew = 30 * time.Second

func clock(c Case) verdict {
	skew := c.Facts.Clock.Sub(c.Facts.Ours).Round(time.Second)
	which := "ahead of"
	if skew < 0 {
		which = "behind"
	}
	const fix = "synchronise both with NTP: timedatectl set-ntp true"
	switch size := skew.Abs(); {
	case size > 5*time.Minute:
		return bad(fix, "the clock of the host is %s %s this machine's", size, which)
	case size > maxSkew:
		return warn(fix, "the clock of the host is %s %s this machine's", size, which)
	}
	return fine("the clocks of host and renewer agree")
}

// files are those without which the service does not start.
func files(c Case) verdict {
	if wrong := Unusable(c.Placement, c.Facts.Disk); wrong != "" {
		return bad(c.placing(), "in %s: %s", c.Placement.Dir, wrong)
	}
	if c.foreign() {
		return warn(Foreign(c.Placement), "the files in %s were not placed by this renewer: they are not in its inventory", c.Placement.Dir)
	}
	return fine("certificate and key in %s exist and match", c.Placement.Dir)
}

func fileModes(c Case) verdict {
	var wrong []string
	for _, p := range c.Facts.Disk.Deviations {
		if p.Kind == renewer.DeviationMode && !p.Readable || p.Kind == renewer.DeviationOwner {
			wrong = append(wrong, p.Text)
		}
	}
	if len(wrong) > 0 {
		return bad("renewer renew "+c.Placement.Certificate+" writes them again, with owner and mode", "in %s: %s", c.Placement.Dir, strings.Join(wrong, "; "))
	}
	return fine("owners and modes in %s are correct", c.Placement.Dir)
}

// environment looks for what silently overrides the ca file of Python clients.
func environment(c Case) verdict {
	if c.docker() {
		return verdict{}
	}
	set := variables(c.Facts.Environment.Text)
	for _, name := range append(slices.Clone(caVariables), "DOCKER_CERT_PATH", "DOCKER_HOST") {
		if v := set[name]; v != "" {
			return warn("remove it there, or unset it for the client", "%s sets %s=%s: clients may use it instead of the files in %s",
				c.Facts.Environment.Path, name, v, c.Placement.Dir)
		}
	}
	var found []string
	for _, v := range c.Facts.UnitEnv {
		if v.Value != path.Join(c.Placement.Dir, c.Placement.Files[renewer.FileCA]) {
			found = append(found, v.String())
		}
	}
	if len(found) > 0 {
		return warn("if it is a client of these files, remove it there (UnsetEnvironment= in a drop-in) and restart the unit",
			"%s: clients in that unit may use it instead of the files in %s", strings.Join(found, "; "), c.Placement.Dir)
	}
	return verdict{}
}

func dockerUnit(c Case) verdict {
	if !c.docker() {
		return verdict{}
	}
	switch u := c.Facts.Unit; {
	case u.Load == "not-found":
		return bad("install Docker: apt-get install docker.io", "there is no unit %s", u.Name)
	case u.Load != "loaded":
		return bad("systemctl unmask "+u.Name, "systemd reports the unit %s as %q", u.Name, u.Load)
	case u.NoProgram != "" && u.Active != "active" && u.Active != "reloading":
		return bad(u.rightProgram(), "%s is not running (%s, %s): it starts %s, which does not exist", u.Name, u.Active, u.Sub, u.NoProgram)
	case u.Active == "inactive":
		return bad("if it was not stopped intentionally: systemctl start "+u.Name, "%s is not running (%s, %s)", u.Name, u.Active, u.Sub)
	case u.Active != "active" && u.Active != "reloading":
		return bad("run on the host: journalctl -n 50 -u "+u.Name, "%s is not running (%s, %s)", u.Name, u.Active, u.Sub)
	case c.Facts.DockerErr != nil:
		return unknown(renewer.Hint(c.Facts.DockerErr), "%v", c.Facts.DockerErr)
	case u.Restarts > 0:
		return warn("run on the host: journalctl -u "+u.Name, "%s is running; systemd restarted it %d times", u.Name, u.Restarts)
	default:
		return fine("%s is running", u.Name)
	}
}

func startLimit(c Case) verdict {
	switch {
	case !c.docker():
		return verdict{}
	case c.Facts.Unit.GaveUp:
		return bad(fmt.Sprintf("fix the cause that journalctl -u %[1]s shows, then run systemctl reset-failed %[1]s and systemctl restart %[1]s", c.Facts.Unit.Name),
			"%s hit the start limit: systemd does not start it again, even with correct files", c.Facts.Unit.Name)
	}
	return fine("the start limit of systemd is not reached")
}

func hostConflict(c Case) verdict {
	if !c.docker() || c.Facts.Unit.Load != "loaded" {
		return verdict{}
	}
	pl := newPlanner(c.Facts, c.Placement)
	if err := pl.read(); err != nil {
		return verdict{} // daemon-config says so
	}
	flags := slices.Concat(pl.cmd.flags, pl.cmd.env)
	if c.Facts.DropIn.Exists { // what runs is ours
		flags = oursIn(c.Facts.DropIn)
	}
	var both []string
	for _, f := range flags {
		if f.clashes(pl.daemon) || f.key == "hosts" && pl.daemon.has("hosts") {
			both = append(both, f.key)
		}
	}
	if slices.Sort(both); len(both) > 0 {
		return bad("renewer host setup "+c.Placement.Host+" keeps each in one place only",
			"%s is given as a flag in %s and in %s: dockerd does not start with both", strings.Join(slices.Compact(both), ", "), c.Facts.Unit.Name, c.Facts.Daemon.Path)
	}
	return fine("no directive is both in %s and in the unit", c.Facts.Daemon.Path)
}

func daemonConfig(c Case) verdict {
	if !c.docker() {
		return verdict{}
	}
	plan, err := Plan(c.Facts, c.Placement)
	if err != nil {
		return bad(renewer.Hint(err), "%v", err)
	}
	var paths []string
	without := false
	for _, ch := range plan.Changes {
		if d, err := parseDocument(c.Facts.Daemon); err == nil && ch.Path == c.Facts.Daemon.Path && string(d.set(liveRestoreKey, true)) == ch.After {
			without = true // the files are served all the same; live-restore says so
			continue
		}
		paths = append(paths, ch.Path)
	}
	switch {
	case len(paths) > 0:
		return bad("renewer host check "+c.Placement.Host+" shows the differences, renewer host setup "+c.Placement.Host+" fixes it",
			"the Docker daemon is not set up for these files: %s", strings.Join(paths, ", "))
	case without && c.Facts.Docker.LiveRestore:
		return warn("renewer host setup "+c.Placement.Host+" writes it there", "live-restore is on in the running daemon, but not in %s: it will be off after the next restart", c.Facts.Daemon.Path)
	case c.Facts.Unit.Stale:
		return warn("run systemctl daemon-reload, then restart the unit at a suitable time", "unit files of %s were changed, and systemd has not loaded them yet", c.Facts.Unit.Name)
	}
	return fine("%s and the unit are set up as expected", c.Facts.Daemon.Path)
}

func liveRestore(c Case) verdict {
	d := c.Facts.Docker
	switch {
	case !c.docker() || !d.Running || c.Facts.DockerErr != nil:
		return verdict{}
	case d.LiveRestore:
		return fine("live-restore is on: containers keep running while dockerd restarts")
	case c.Facts.Swarm:
		return warn("restart in a maintenance window: window: of the certificate", "the host is in a swarm, where live-restore cannot be on: a restart stops %d containers", d.Containers)
	}
	return warn("renewer host setup "+c.Placement.Host+"turns it on", "live-restore is off: a restart stops the running containers (%d now)", d.Containers)
}

// refused looks for the listener on the machine itself.
func refused(c Case) verdict {
	if !c.docker() {
		return verdict{}
	}
	address := c.Placement.Probe.Address
	_, port, _ := net.SplitHostPort(address)
	outside := slices.DeleteFunc(slices.Clone(c.Facts.Listening), func(a string) bool { return isLoopback("tcp://" + a) })
	dropIn := c.Facts.DropIn.Path + " exists"
	if !c.Facts.DropIn.Exists {
		dropIn = c.Facts.DropIn.Path + " is missing"
	}
	fix := "renewer host setup " + c.Placement.Host + " writes the drop-in and restarts dockerd"
	if _, err := Plan(c.Facts, c.Placement); err != nil {
		fix = renewer.Hint(err) // setup would refuse, with this
	}
	switch {
	case c.Facts.ListenErr != nil:
		return unknown("install ss (package iproute2) on the host", "could not check whether a process listens on port %s: %v", port, c.Facts.ListenErr)
	case len(c.Facts.Listening) == 0:
		return bad(fix, "no process listens on port %s of the host, so connections are refused; %s", port, dropIn)
	case len(outside) == 0:
		return bad(fix, "port %s is open on loopback only (%s), so connections from other hosts are refused; %s", port, strings.Join(c.Facts.Listening, ", "), dropIn)
	case c.Probed && errors.Is(c.ProbeErr, syscall.ECONNREFUSED):
		return bad("is "+address+" the address of this host? a firewall may also refuse it: iptables -L -n, ufw status verbose",
			"%s refuses connections, although the host listens on %s", address, strings.Join(outside, ", "))
	}
	return fine("the host listens on %s", strings.Join(outside, ", "))
}
