package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// dialTimeout is for a connect to a socket on this machine.
const dialTimeout = 5 * time.Second

// apiSocket listens on a unix socket and lets in only its own user and root.
type apiSocket struct {
	*net.UnixListener
	path string
	made fs.FileInfo // what was made at path, so that nothing else is removed
	log  *slog.Logger
}

// listenSocket makes the socket with mode 0600. What a dead daemon left is
// replaced; a live daemon's is an error that names its process.
//
// Two daemons that start at once are kept apart by the lock of the inventory,
// which the caller holds.
func listenSocket(path string, log *slog.Logger) (*apiSocket, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the socket: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("look at the directory of the socket: %w", err)
	}
	if st.Mode().Perm()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return nil, renewer.WithHint(fmt.Errorf("the directory %s of the socket is world-writable: anybody could replace the socket", dir),
			"chmod o-w "+dir+", or set api.socket to a path elsewhere")
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	short, release, err := reach(path)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket %s: %w", path, err)
	}
	defer release()
	// The mode of the socket's inode is that of its descriptor at bind
	// (unix(7), Linux), less the umask: no moment with a wider one.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket %s: %w", path, cause(err))
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	s := &apiSocket{UnixListener: ul, path: path, log: log}
	if s.made, err = os.Lstat(path); err == nil && s.made.Mode().Perm() != 0o600 {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("set the mode of the socket %s: %w", path, err)
	}
	return s, nil
}

// Accept returns the next connection of a peer that may use the API.
func (s *apiSocket) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		cred, err := peer(c)
		if err == nil && permitted(int(cred.Uid), os.Geteuid()) {
			return c, nil
		}
		if err != nil {
			s.log.Warn("socket: peer refused", "err", err)
		} else {
			s.log.Warn("socket: peer refused", "uid", cred.Uid, "pid", cred.Pid)
		}
		_ = c.Close()
	}
}

// Close stops listening and removes the socket, unless it is another's by now.
func (s *apiSocket) Close() error {
	err := s.UnixListener.Close()
	if now, e := os.Lstat(s.path); e == nil && s.made != nil && os.SameFile(now, s.made) {
		err = errors.Join(err, os.Remove(s.path))
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func permitted(uid, self int) bool { return uid == self || uid == 0 }

// peer returns who is at the other end (SO_PEERCRED, unix(7)).
func peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var get error
	err = raw.Control(func(fd uintptr) { cred, get = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, get); err != nil {
		return nil, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	return cred, nil
}

// removeStale removes a socket on which nobody listens any more.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return renewer.WithHint(fmt.Errorf("%s is in the way of the socket and is none", path),
			"remove it, or set api.socket to another path")
	}
	c, err := dial(context.Background(), path)
	if err == nil {
		defer func() { _ = c.Close() }()
		who := ""
		if cred, err := peer(c); err == nil {
			who = fmt.Sprintf(" by process %d", cred.Pid)
		}
		return renewer.WithHint(fmt.Errorf("the socket %s is already served%s", path, who), "a daemon runs: stop that one first")
	}
	if !errors.Is(err, ErrNoDaemon) {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of a dead daemon: %w", err)
	}
	return nil
}

// dial connects to a socket. The error is ErrNoDaemon where there is none, or
// nobody listens on it.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	short, release, err := reach(path)
	if err != nil {
		return nil, dialError(path, err)
	}
	defer release()
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, dialError(path, err)
	}
	return c.(*net.UnixConn), nil
}

func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w at %s", ErrNoDaemon, path)
	case errors.Is(err, fs.ErrPermission):
		hint := "run this as the user of the daemon, or as root"
		if st, e := os.Stat(path); e == nil {
			if sys, ok := st.Sys().(*syscall.Stat_t); ok {
				hint = fmt.Sprintf("run this as the user of the daemon (uid %d), or as root", sys.Uid)
			}
		}
		return renewer.WithHint(fmt.Errorf("connect to the daemon at %s: %w", path, cause(err)), hint)
	}
	return fmt.Errorf("connect to the daemon at %s: %w", path, cause(err))
}

// cause strips what net adds: the path that was really used may be a short one.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// maxPath is the longest path in a socket's address (unix(7): sun_path has 108
// bytes, one of them for the end).
const maxPath = 107

// reach returns a path to the same socket that fits into an address: itself,
// or through a descriptor of its directory. It is good until release.
func reach(path string) (short string, release func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { _ = unix.Close(fd) }, nil
}
