package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// walk opens a directory of this machine part by part, each looked up in the
// one before, and makes what is missing, mode 0755. Links on the way are
// followed. Where this process is root every part has to be safe: see [Way].
func walk(dir string, create bool) (fd int, err error) {
	const maxLinks = 40
	way := Way{Alone: alone}
	fd, err = openat(unix.AT_FDCWD, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	opened, at := []int{fd}, []string{}
	defer func() {
		for _, f := range opened {
			if f != fd || err != nil {
				_ = unix.Close(f)
			}
		}
	}()
	check := func(f int) error {
		info, _, err := statOf(f)
		if err == nil && os.Geteuid() == 0 {
			err = way.Through("/"+path.Join(at...), info)
		}
		return err
	}
	if err := check(fd); err != nil {
		return -1, err
	}
	rest := strings.Split(strings.Trim(dir, "/"), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(opened) > 1 {
				_ = unix.Close(fd)
				opened, at = opened[:len(opened)-1], at[:len(at)-1]
				fd = opened[len(opened)-1]
			}
			continue
		}
		next, target, err := stepInto(fd, part, create)
		if err != nil {
			return -1, err
		}
		if target != "" {
			if links++; links > maxLinks {
				return -1, unix.ELOOP
			}
			if path.IsAbs(target) {
				for _, f := range opened[1:] {
					_ = unix.Close(f)
				}
				opened, at, fd = opened[:1], nil, opened[0]
			}
			rest = append(strings.Split(target, "/"), rest...)
			create = create && exists(fd, rest[0]) // a link that leads nowhere is there
			continue
		}
		opened, at, fd = append(opened, next), append(at, part), next
		if err := check(fd); err != nil {
			return -1, err
		}
	}
	if os.Geteuid() == 0 {
		return fd, way.End()
	}
	return fd, nil
}

func exists(dir int, name string) bool {
	var st unix.Stat_t
	return name == "" || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// stepInto opens a directory in another one, or tells where a link leads.
func stepInto(dir int, name string, create bool) (fd int, target string, err error) {
	fd, err = openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT) && create:
		err := unix.Mkdirat(dir, name, 0o755)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, "", err
		}
		fd, oerr := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if oerr != nil || err != nil {
			return fd, "", oerr
		}
		if err := unix.Fchmod(fd, 0o755); err != nil { // whatever the umask
			_ = unix.Close(fd)
			return -1, "", err
		}
		return fd, "", unix.Fsync(dir)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		room := make([]byte, unix.PathMax)
		n, lerr := unix.Readlinkat(dir, name, room)
		if lerr != nil || n == 0 {
			return -1, "", err
		}
		return -1, string(room[:n]), nil
	}
	return fd, "", err
}

// Way is a path to a directory that root works in, looked at part by part from
// the top. It is safe where no one can change it but root and one other user,
// to whom what follows belongs: that is whose the service is, and what is done
// there is done so that a link of theirs gains nothing.
type Way struct {
	Owner  Owner            // of the first part that is not root's
	From   string           // that part
	Alone  func(Owner) bool // see [Transport]; nil: not known
	shared error            // the last part is one where everybody may put what is theirs, as /tmp
}

// Through adds a part. The error says whose it is, and how to fix it.
func (w *Way) Through(name string, info Info) error {
	w.shared = nil
	if !info.Mode.IsDir() {
		return fmt.Errorf("%s is not a directory", name)
	}
	uid := info.Owner.UID
	switch {
	case uid != 0 && w.Owner.UID == 0:
		w.Owner, w.From = info.Owner, name
	case uid != 0 && uid != w.Owner.UID:
		return &renewer.Error{
			Class: renewer.ClassMisconfigured,
			Err:   fmt.Errorf("%s belongs to user %d, and its parent directory to user %d, who could replace it", name, uid, w.Owner.UID),
			Hint:  fmt.Sprintf("give both the same owner; run on the host: chown %d %s", w.Owner.UID, name),
		}
	}
	if !othersWrite(info, w.Alone) {
		return nil
	}
	err := &renewer.Error{
		Class: renewer.ClassMisconfigured,
		Err:   fmt.Errorf("%s of user %d has mode %04o: other users can change it %w", name, uid, info.Mode.Perm(), renewer.ErrOpenToOthers),
		Hint:  "run on the host: chmod go-w " + name,
	}
	if info.Mode&fs.ModeSticky == 0 {
		return err
	}
	w.shared = err
	return nil
}

// End says that nothing follows.
func (w *Way) End() error { return w.shared }
