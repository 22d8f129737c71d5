package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"renewer/internal/pattern"
	"renewer/renewer"
)

// caller is who is at the other end of a connection, as the kernel says it.
type caller struct {
	uid    int
	pid    int32
	reader string // the group as whose member it may read; empty: it may do everything
}

// admit returns who is at the other end, and false for one who may not use the API.
func (s *apiSocket) admit(c *net.UnixConn) (caller, bool, error) {
	cred, err := peer(c)
	if err != nil {
		return caller{}, false, err
	}
	who := caller{uid: int(cred.Uid), pid: cred.Pid}
	if permitted(who.uid, os.Geteuid()) {
		return who, true, nil
	}
	if s.group == nil {
		return who, false, nil
	}
	groups, err := peerGroups(c)
	if err != nil {
		return who, false, err
	}
	who.reader = s.group.Name
	return who, slices.Contains(append(groups, cred.Gid), s.gid), nil
}

func permitted(uid, self int) bool { return uid == self || uid == 0 }

func (c caller) readsOnly() bool { return c.reader != "" }

// refused says why a caller may not use a route that acts.
func (c caller) refused() error {
	return renewer.WithHint(fmt.Errorf("%s may only read, as a member of group %s", userOf(c.uid), c.reader),
		"run this as root, or as the user that renewer runs as: "+userOf(os.Geteuid()))
}

// operator names a caller for the event log. Who became root through sudo is a hint:
// the caller says it, and root can say anything.
func (c caller) operator(sudo string) string {
	if c.uid != 0 {
		sudo = ""
	}
	if name, err := url.QueryUnescape(sudo); err == nil {
		sudo = name
	}
	return Operator(c.uid, sudo)
}

// loginName is what is shown as it is: also DOMAIN\user and letters of every script.
var loginName = pattern.New(`^[\p{L}\p{N}_][\p{L}\p{N}_.@\\-]{0,63}\$?$`)

// maxSudoUser is how many bytes of a login name are sent and shown.
const maxSudoUser = 128

// Operator names a user for the event log, such as "uid 0 (root), sudo by alice". What
// is no login name is quoted: it cannot look like more than one user, or steer a terminal.
func Operator(uid int, sudo string) string {
	text := userOf(uid)
	switch {
	case sudo == "":
	case loginName.MatchString(sudo):
		text += ", sudo by " + sudo
	default:
		text += ", sudo by " + strconv.Quote(strings.ToValidUTF8(sudo[:min(len(sudo), maxSudoUser)], "\ufffd"))
	}
	return text
}

// userOf is "uid 1000 (alice)", without a name where this machine has none.
func userOf[ID int | uint32](uid ID) string {
	text := "uid " + strconv.FormatInt(int64(uid), 10)
	if u, err := user.LookupId(text[len("uid "):]); err == nil {
		text += " (" + u.Username + ")"
	}
	return text
}

// admitted is a connection whose caller may use the API.
type admitted struct {
	*net.UnixConn
	caller caller
}

type callerKey struct{}

// withCaller is http.Server.ConnContext.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	if a, ok := c.(admitted); ok {
		return context.WithValue(ctx, callerKey{}, a.caller)
	}
	return ctx
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// peer returns who is at the other end (SO_PEERCRED, unix(7)).
func peer(c *net.UnixConn) (cred *unix.Ucred, err error) {
	err = control(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return cred, err
}

// peerGroups returns the supplementary groups of who is at the other end
// (SO_PEERGROUPS, socket(7)); x/sys has no function for it.
func peerGroups(c *net.UnixConn) (groups []uint32, err error) {
	const most = 65536 // NGROUPS_MAX
	err = control(c, func(fd int) error {
		for size := uint32(4 * 64); ; {
			buf := make([]byte, max(size, 4))
			_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
				uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // the kernel writes at most size bytes
			if errno == unix.ERANGE && int(size) > len(buf) && size <= 4*most {
				continue
			}
			if errno != 0 {
				return errno
			}
			for b := buf[:size]; len(b) >= 4; b = b[4:] {
				groups = append(groups, binary.NativeEndian.Uint32(b))
			}
			return nil
		}
	})
	return groups, err
}

func control(c *net.UnixConn, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err == nil {
		var failed error
		if err = raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err == nil {
			err = failed
		}
	}
	if err != nil {
		return fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	return nil
}

// LookupGroup returns the group that api.socket_group names or numbers.
func LookupGroup(name string) (*user.Group, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return g, nil
	}
	if _, number := strconv.ParseUint(name, 10, 32); number == nil {
		if g, err := user.LookupGroupId(name); err == nil {
			return g, nil
		}
		return &user.Group{Gid: name, Name: name}, nil
	}
	return nil, renewer.WithHint(fmt.Errorf("api.socket_group is %q, and this machine has no such group", name),
		"create it: groupadd "+name+"; or name another one: getent group lists them")
}

// trusted refuses a server that is neither root's nor our own, unless it runs as the
// owner of the state directory, or root gave its user the directory of the socket.
func trusted(c *net.UnixConn, socket string, stateDir func() string) error {
	cred, err := peer(c)
	if err != nil {
		return err
	}
	server, dir := cred.Uid, filepath.Dir(socket)
	refuse := func(what string) error {
		return renewer.WithHint(fmt.Errorf("the socket %s is not used: %s", socket, what),
			"check its owner: ls -ld "+dir+" "+socket+"; --socket names another one")
	}
	if !permitted(int(server), os.Geteuid()) && (stateDir == nil || !ownedBy(stateDir(), server)) && !delegated(dir, server) {
		return refuse(fmt.Sprintf("process %d serves it as %s, which is neither root, nor you, nor the owner of the state directory", cred.Pid, userOf(server)))
	}
	owner, mode, err := ownerOf(dir)
	switch {
	case err != nil:
		return fmt.Errorf("look at the directory of the socket: %w", err)
	case owner != server && !permitted(int(owner), os.Geteuid()):
		return refuse(fmt.Sprintf("its directory belongs to %s, and the server runs as %s", userOf(owner), userOf(server)))
	case mode&0o002 != 0 && mode&fs.ModeSticky == 0:
		return refuse("its directory is world-writable")
	}
	return nil
}

// delegated reports whether a directory is a user's, and was made by root: what is
// above it is root's, and only root can write there.
func delegated(dir string, uid uint32) bool {
	owner, mode, err := ownerOf(filepath.Dir(dir))
	return err == nil && owner == 0 && mode&0o022 == 0 && ownedBy(dir, uid)
}

func ownedBy(path string, uid uint32) bool {
	owner, _, err := ownerOf(path)
	return err == nil && owner == uid
}

func ownerOf(path string) (uint32, fs.FileMode, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, fmt.Errorf("%s has no owner", path)
	}
	return sys.Uid, st.Mode(), nil
}
