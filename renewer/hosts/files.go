package hosts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"

	"renewer/renewer"
)

// maxPlain is the most that a configuration file may hold, in bytes.
const maxPlain = 1 << 20

// Output runs an argument vector on the host and returns the end of what it
// printed on standard output; a non-zero exit is an error that holds the end of
// all that it printed.
func (h *Host) Output(ctx context.Context, argv []string) (string, error) {
	out, err := h.output(ctx, argv)
	if err != nil {
		err = fmt.Errorf("host %s: %w", h.name, err)
	}
	return out, err
}

// ReadFile returns a regular file of at most 1 MiB by its absolute path. Where
// the name is a symbolic link, the mode has fs.ModeSymlink beside the
// permissions of what it leads to. A file that is not there, or a link that
// leads nowhere, is an error that wraps fs.ErrNotExist.
func (h *Host) ReadFile(ctx context.Context, name string) ([]byte, fs.FileMode, error) {
	data, mode, err := h.readPlain(ctx, name)
	return data, mode, h.about("read", name, err)
}

func (h *Host) readPlain(ctx context.Context, name string) ([]byte, fs.FileMode, error) {
	const maxLinks = 16
	var link fs.FileMode
	for range maxLinks {
		data, info, target, err := h.readOne(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		if info.Mode&fs.ModeSymlink == 0 {
			return data, info.Mode.Perm() | link, nil
		}
		if err := h.mayFollow(ctx, name, info); err != nil {
			return nil, 0, err
		}
		link = fs.ModeSymlink
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = path.Clean(target)
	}
	return nil, 0, errors.New("too many links")
}

// mayFollow refuses a link that another user than root made, where root reads:
// it could lead to what they may not read.
func (h *Host) mayFollow(ctx context.Context, name string, link Info) error {
	self, err := h.transport.Owner(ctx, "", "", path.Dir(name))
	if err != nil || self.UID != 0 || link.Owner.UID == 0 {
		return err
	}
	return renewer.WithHint(fmt.Errorf("%s is a symbolic link owned by user %d; renewer does not follow it as root", name, link.Owner.UID), "replace the link by a copy of the file, or by a link that root owns")
}

// readOne reads a file, or the target of a link.
func (h *Host) readOne(ctx context.Context, name string) (data []byte, info Info, target string, err error) {
	dir, err := h.dirOf(ctx, name, false)
	if err != nil {
		return nil, Info{}, "", err
	}
	defer dir.Close()
	base := path.Base(name)
	if info, err = dir.Lstat(base); err != nil {
		return nil, Info{}, "", err
	}
	switch {
	case info.Mode&fs.ModeSymlink != 0:
		target, err = dir.Readlink(base)
	case !info.Mode.IsRegular():
		err = errors.New("not a regular file")
	default:
		if info, data, err = dir.ReadFile(base, maxPlain); err == nil && info.Owner.UID == 0 {
			err = errors.Join(h.theirsAlone(ctx, name, info, "and so change what renewer reads as root"), notLedAway(dir, name, info))
		}
		if err != nil {
			data = nil
		}
	}
	return data, info, target, err
}

// notLedAway refuses what root alone may read in a directory of another user: a link that
// they put there meanwhile leads to it wherever it lies.
func notLedAway(dir Dir, name string, read Info) error {
	if read.Mode.Perm()&0o004 != 0 {
		return nil
	}
	in, err := dir.Lstat(".")
	if err != nil || in.Owner.UID == 0 {
		return err
	}
	return renewer.WithHint(fmt.Errorf("only root can read %s, in a directory that user %d owns: %w", name, in.Owner.UID, fs.ErrPermission),
		"give the file to that user, make it readable, or move it into a directory that root owns")
}

// WriteFile puts a file under its absolute path by one rename: readers see the
// old content or the new one, whole. An existing file keeps its owner, a new
// one belongs to whom files are written as; a directory that is missing is
// made with mode 0755. A symbolic link is refused, not followed or replaced:
// the file is somebody else's. After an error nothing of it has changed, but a
// rename whose directory could not be synced.
func (h *Host) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	return h.about("write", name, h.writePlain(ctx, name, data, mode))
}

func (h *Host) writePlain(ctx context.Context, name string, data []byte, mode fs.FileMode) (err error) {
	if len(data) > maxPlain {
		return fmt.Errorf("larger than %d bytes: %d", len(data), maxPlain)
	}
	dir, err := h.dirOf(ctx, name, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	base := path.Base(name)
	owner, err := h.ownerOf(ctx, dir, name)
	if err != nil {
		return err
	}
	// The name is not guessable and has no ending that a service would read.
	temp := tempMark + rand.Text()
	defer func() {
		if err != nil {
			_ = dir.Remove(temp) // not there after the rename
		}
	}()
	if err := dir.Create(File{Name: temp, Mode: mode.Perm(), Owner: owner, Data: data}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return dir.Rename(temp, base)
}

func (h *Host) ownerOf(ctx context.Context, dir Dir, name string) (Owner, error) {
	base := path.Base(name)
	switch info, err := dir.Lstat(base); {
	case errors.Is(err, fs.ErrNotExist):
		return h.transport.Owner(ctx, "", "", path.Dir(name))
	case err != nil:
		return Owner{}, err
	case info.Mode&fs.ModeSymlink != 0:
		return Owner{}, renewer.WithHint(errors.New("it is a symbolic link: another tool keeps this file"),
			"edit the file that the link points to, or replace the link by a copy of the file")
	case !info.Mode.IsRegular():
		return Owner{}, errors.New("not a regular file")
	default:
		return info.Owner, nil
	}
}

// Remove removes a file, or a link itself, by its absolute path; it is no
// error if there is none.
func (h *Host) Remove(ctx context.Context, name string) error {
	return h.about("remove", name, h.removePlain(ctx, name))
}

func (h *Host) removePlain(ctx context.Context, name string) error {
	dir, err := h.dirOf(ctx, name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	base := path.Base(name)
	info, err := dir.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode.IsDir():
		return errors.New("it is a directory")
	}
	if err := dir.Remove(base); err != nil {
		return err
	}
	return dir.Sync(".")
}

// dirOf opens the directory that a file is in.
func (h *Host) dirOf(ctx context.Context, name string, create bool) (Dir, error) {
	if !path.IsAbs(name) || path.Clean(name) != name || !plainName(path.Base(name)) {
		return nil, errors.New("not the absolute, clean path of a file")
	}
	return h.transport.OpenDir(ctx, path.Dir(name), create)
}

// about says what was done to which file, and adds a hint for what the system
// says.
func (h *Host) about(what, name string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("host %s: %s %s: %w", h.name, what, name, err)
	if renewer.Hint(err) != "" {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return renewer.WithHint(err, "free space (or inodes) on the file system of "+name)
	case errors.Is(err, syscall.EROFS):
		return renewer.WithHint(err, "the file system of "+name+" is mounted read-only: remount it")
	case errors.Is(err, fs.ErrPermission):
		return renewer.WithHint(err, "renewer needs root on this host: run renewer as root, or set sudo: true for the host")
	}
	return err
}

// Room tells how much is left on the file system of a directory.
func (h *Host) Room(ctx context.Context, dir string) (renewer.Room, error) {
	d, err := h.transport.OpenDir(ctx, dir, false)
	if err != nil {
		return renewer.Room{}, h.about("inspect", dir, err)
	}
	defer d.Close()
	room, err := d.Room()
	return room, h.about("inspect", dir, err)
}

// Has reports whether there is a file under an absolute path, or a link.
func (h *Host) Has(ctx context.Context, name string) (bool, error) {
	dir, err := h.dirOf(ctx, name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		defer dir.Close()
		_, err = dir.Lstat(path.Base(name))
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, h.about("find", name, err)
	}
}
