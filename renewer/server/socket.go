package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// dialTimeout is for a connect to a socket on this machine.
const dialTimeout = 5 * time.Second

// apiSocket listens on a unix socket and lets in only its own user, root and, to read,
// members of a group.
type apiSocket struct {
	*net.UnixListener
	path  string
	made  fs.FileInfo // what was made at path, so that nothing else is removed
	group *user.Group // nil: none
	gid   uint32
	log   *slog.Logger
}

// listenSocket makes the socket with mode 0600, or 0660 with a group. What a dead
// daemon left is replaced; a live daemon's is an error that names its process.
//
// Two daemons that start at once are kept apart by the lock of the inventory,
// which the caller holds.
func listenSocket(path, group string, log *slog.Logger) (*apiSocket, error) {
	s := &apiSocket{path: path, log: log}
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(dir, group); err != nil {
			return nil, fmt.Errorf("make the directory of the socket: %w", err)
		}
		st, err = os.Stat(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the directory of the socket: %w", err)
	}
	if st.Mode().Perm()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return nil, renewer.WithHint(fmt.Errorf("the directory %s of the socket is world-writable: any local user can replace the socket", dir),
			"chmod o-w "+dir+", or set api.socket to a path elsewhere")
	}
	if err := s.readers(group); err != nil {
		return nil, err
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
	s.UnixListener = l.(*net.UnixListener)
	s.SetUnlinkOnClose(false)
	if s.made, err = os.Lstat(path); err == nil && s.made.Mode().Perm() != 0o600 {
		err = os.Chmod(path, 0o600)
	}
	if err == nil {
		err = s.share()
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("set the mode of the socket %s: %w", path, err)
	}
	return s, nil
}

// makeDir makes the directory of the socket: for its owner, and with a group for all who
// know what to look for in it.
func makeDir(dir, group string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil && group != "" {
		err = os.Chmod(dir, 0o711) //nolint:gosec // the group has to pass
	}
	return err
}

// readers finds the group whose members may read, and refuses a directory that they
// cannot enter.
func (s *apiSocket) readers(group string) (err error) {
	if group == "" {
		return nil
	}
	if s.group, err = LookupGroup(group); err != nil {
		return err
	}
	gid, err := strconv.ParseUint(s.group.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("group %s has the number %q", group, s.group.Gid)
	}
	s.gid = uint32(gid)
	for dir := filepath.Dir(s.path); ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look at the directory of the socket: %w", err)
		}
		enter := st.Mode().Perm() & 0o001
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Gid == s.gid {
			enter = st.Mode().Perm() & 0o010
		}
		if _, err := unix.Lgetxattr(dir, "system.posix_acl_access", nil); enter == 0 && err != nil { // an ACL may let them in
			return renewer.WithHint(fmt.Errorf("api.socket_group is %q, and its members cannot enter %s (mode %04o), which leads to the socket", group, dir, st.Mode().Perm()),
				"chmod o+x "+dir+"; in a systemd unit: RuntimeDirectoryMode=0711; or set api.socket to a path in another directory, such as /run/renewer/renewer.sock")
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// share gives the socket to its group.
func (s *apiSocket) share() error {
	if s.group == nil {
		return nil
	}
	if err := os.Lchown(s.path, -1, int(s.gid)); err != nil {
		return renewer.WithHint(fmt.Errorf("give it to group %s: %w", s.group.Name, cause(err)), "the user that renewer runs as has to be in that group: usermod -aG "+s.group.Name+" USER")
	}
	return os.Chmod(s.path, 0o660) //nolint:gosec // the group has to connect
}

// Accept returns the next connection of a peer that may use the API.
func (s *apiSocket) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		who, ok, err := s.admit(c)
		if ok {
			return admitted{c, who}, nil
		}
		s.log.Warn("socket: peer refused", "uid", who.uid, "pid", who.pid, "err", err)
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

// removeStale removes a socket without a listener.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return renewer.WithHint(fmt.Errorf("%s exists and is not a socket", path),
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

// dial connects to a socket. The error is ErrNoDaemon if the socket is missing or
// has no listener.
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
		if uid, _, e := ownerOf(path); e == nil {
			hint = "run this as the user of the daemon, " + userOf(uid) + ", or as root; members of api.socket_group may read"
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
