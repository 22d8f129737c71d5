package testhosts

import (
	"fmt"
	"net"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen listens on a port of the host's address, in this process: a test can
// so stand in front of a service of the host. The listener is the caller's to
// close, before the host ends.
func (h *Host) Listen(port int) (net.Listener, error) {
	var listener net.Listener
	err := h.inNetwork(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(h.Address, strconv.Itoa(port))) //nolint:noctx // it is open at once
		return err
	})
	return listener, err
}

// inNetwork calls f on a thread that is in the host's network; a socket stays
// where it was made. The thread is not used again.
func (h *Host) inNetwork(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with the goroutine
		fd, err := unix.Open(h.namespace(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err != nil {
			done <- fmt.Errorf("enter the network of %s: %w", h.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}
