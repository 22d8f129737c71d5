package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"path"

	"renewer/configs"
	"renewer/internal/sudoers"
	"renewer/renewer"
	"renewer/renewer/daguhost"
	"renewer/renewer/dockerhost"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
	"renewer/renewer/unithost"
)

// Sudoers returns a file for /etc/sudoers.d of a host: all that renewer runs
// there through sudo for what the fleet file has on it, and nothing else.
func Sudoers(fleet *configs.Fleet, host string) (string, error) {
	name, commands, limited, err := rooted(fleet, host)
	if err != nil {
		return "", err
	}
	head := fmt.Sprintf("# What renewer runs as root on %s, by its fleet file. On the host: visudo -f /etc/sudoers.d/renewer\n"+
		"# The SFTP server may write every file, so this is as good as root; the rest is what else an auditor will see.\n"+
		"# Of several fleets that keep files on one host, each has a file of its own there.\n", host)
	return head + sudoers.File(name, commands, limited), nil
}

// rooted returns who logs in at a host and what is run through sudo there;
// limited is what timeout(1) ends where it may.
func rooted(fleet *configs.Fleet, host string) (name string, commands, limited [][]string, err error) {
	h, ok := fleet.Host(host)
	switch {
	case !ok:
		return "", nil, nil, noHost(fleet, host)
	case !h.Sudo:
		return "", nil, nil, renewer.WithHint(fmt.Errorf("nothing is run through sudo on host %s", host), "set sudo: true for the host; it needs none where its user is root")
	}
	name = h.User
	if name == "" {
		me, err := user.Current()
		if err != nil {
			return "", nil, nil, renewer.WithHint(fmt.Errorf("who logs in at host %s: %w", host, err), "set user: of the host")
		}
		name = me.Username
	}
	commands = hosts.SFTPServers(h.SFTPServer)
	for _, c := range fleet.Certificates {
		p, ok := c.Placement(host)
		if !ok {
			continue
		}
		commands = append(commands, hosts.DialDocker(path.Join("/", h.Root, hosts.DockerSocket)))
		limited = append(limited, hosts.Commands(p)...)
		limited = append(limited, unithost.Commands(p)...)
		limited = append(limited, dockerhost.Commands(p)...)
		if p.Probe.Kind == renewer.ProbeDocker {
			limited = append(limited, hosts.DockerCommands("")...)
		}
		if daguhost.Applies(c) {
			limited = append(limited, daguhost.Commands(p)...)
		}
	}
	return name, commands, limited, nil
}

// rights is a transport whose refusals by sudo say how to allow all that is
// run there, and not one command after the other.
type rights struct {
	hosts.Transport
	host string
}

func (r rights) explain(err error) error {
	var sudo remote.SudoError
	if !errors.As(err, &sudo) || sudo.Terminal { // for which one line does, that is in the hint
		return err
	}
	return renewer.WithHint(err, fmt.Sprintf("renewer host sudoers %s prints all that has to be allowed there: put it into /etc/sudoers.d/renewer on the host (visudo -f)", r.host))
}

// OpenDir implements hosts.Transport.
func (r rights) OpenDir(ctx context.Context, path string, create bool, first ...hosts.Ahead) (hosts.Dir, error) {
	d, err := r.Transport.OpenDir(ctx, path, create, first...)
	return d, r.explain(err)
}

// Under is what it is wrapped around.
func (r rights) Under() hosts.Transport { return r.Transport }

// Run implements hosts.Transport.
func (r rights) Run(ctx context.Context, argv []string, given ...string) ([]byte, error) {
	out, err := r.Transport.Run(ctx, argv, given...)
	return out, r.explain(err)
}

// Signal implements hosts.Transport.
func (r rights) Signal(ctx context.Context, pid int, signal string, user int) error {
	return r.explain(r.Transport.Signal(ctx, pid, signal, user))
}

// DialDocker implements hosts.Transport.
func (r rights) DialDocker(ctx context.Context, socket string) (net.Conn, error) {
	c, err := r.Transport.DialDocker(ctx, socket)
	return c, r.explain(err)
}
