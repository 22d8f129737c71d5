package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

// namedSocket is the socket that the command line or the environment names.
func (c *cli) namedSocket() string { return cmp.Or(c.socket, os.Getenv("RENEWER_SOCKET")) }

// daemon returns the daemon of the socket that is named, or that the fleet
// file names; nil where none runs. The rest of the fleet file does not matter.
func (c *cli) daemon(ctx context.Context) (*server.Client, error) {
	named := c.namedSocket()
	path, err := c.path()
	var socket string
	if err == nil {
		if socket, err = configs.SocketOf(path); err != nil {
			err = usageError{err}
		}
	}
	switch {
	case named != "" && named != socket:
		return c.elsewhere(ctx, named, path)
	case err != nil:
		return nil, err
	}
	client, err := server.Dial(socket, stateDirOf(path))
	if err != nil {
		return nil, unlessNone(err)
	}
	c.warn(ctx, client, path)
	return client, nil
}

// elsewhere is daemon for a socket that is not that of the fleet file. Without a
// daemon there, a command that acts would act on another fleet.
func (c *cli) elsewhere(ctx context.Context, socket, path string) (*server.Client, error) {
	client, err := server.Dial(socket, stateDirOf(path))
	switch {
	case err == nil:
		c.warn(ctx, client, "")
		return client, nil
	case !errors.Is(err, server.ErrNoDaemon):
		return nil, err
	case path == "" || !c.reading:
		without := "leave out --socket"
		if c.socket == "" {
			without = "unset RENEWER_SOCKET"
		}
		return nil, renewer.WithHint(err, "check the path: it is api: {socket: PATH} in the daemon's fleet file; or "+without+": the socket in the fleet file is then used")
	}
	c.say("warning: %v; %s and its state are read instead", err, path)
	return nil, nil
}

// stateDirOf finds the state directory of a fleet file: its owner may serve the socket.
func stateDirOf(path string) func() string {
	return func() string {
		dir, _ := configs.StateDirOf(path) // empty: not known
		return dir
	}
}

func unlessNone(err error) error {
	if errors.Is(err, server.ErrNoDaemon) {
		return nil
	}
	return err
}

// warn says once what is wrong with the fleet file on disk, which a daemon
// does not need any more: that of the command, or else the daemon's own.
func (c *cli) warn(ctx context.Context, client *server.Client, path string) {
	if c.warned || c.quiet {
		return
	}
	c.warned = true
	held, err := client.FleetFile(ctx)
	if err != nil {
		return // what the command asks says why
	}
	if path == "" {
		path = held.Path
	}
	if fault := daemon.FaultOnDisk(path, held); fault != "" {
		fmt.Fprintf(c.errOut, "warning: %s; the daemon goes on with the fleet file it has\nhint: renewer check names every fault\n", fault)
	}
	c.unusable(held.Unusable)
}
