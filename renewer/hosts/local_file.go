package hosts

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

func (d *localDir) Create(files ...File) error {
	for _, f := range files {
		if err := d.create(f); err != nil {
			return err
		}
	}
	return nil
}

// create needs no look whose the room is by now: a file in a temporary directory has
// no effect until the directory is renamed, and that call looks.
func (d *localDir) create(f File) error {
	return d.at("write", f.Name, func(dir int, base string) error {
		fd, err := openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		err = fill(fd, f)
		if cerr := unix.Close(fd); err == nil && !errors.Is(cerr, unix.EINTR) { // which closes it all the same
			err = cerr
		}
		return err
	})
}

func fill(fd int, f File) error {
	if err := again(func() error { return unix.Fchown(fd, f.Owner.UID, f.Owner.GID) }); err != nil {
		return fmt.Errorf("give it to user %d, group %d: %w", f.Owner.UID, f.Owner.GID, err)
	}
	if err := again(func() error { return unix.Fchmod(fd, uint32(f.Mode.Perm())) }); err != nil { // after chown, which may clear bits
		return err
	}
	for left := f.Data; len(left) > 0; {
		n := 0
		err := again(func() (err error) { n, err = unix.Write(fd, left); return err })
		if err != nil {
			return err
		}
		left = left[n:]
	}
	return again(func() error { return unix.Fsync(fd) })
}

func (d *localDir) ReadFile(name string, limit int64) (info Info, data []byte, err error) {
	err = d.at("read", name, func(dir int, base string) error {
		// A pipe under the name must not make the open wait.
		fd, err := openat(dir, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var size int64
		if info, size, err = statOf(fd); err != nil {
			return err
		}
		if !info.Mode.IsRegular() {
			return errors.New("not a regular file")
		}
		const more = 512 // than it says, as files of /proc do
		data = make([]byte, 0, min(size, limit)+more)
		for int64(len(data)) <= limit {
			data = slices.Grow(data, 1)
			n := 0
			err := again(func() (err error) { n, err = unix.Read(fd, data[len(data):cap(data)]); return err })
			if err != nil {
				return err
			}
			if n == 0 {
				return nil
			}
			data = data[:len(data)+n]
		}
		return renewer.WithHint(fmt.Errorf("larger than %d bytes", limit), "too large for a certificate, key or pid file: check the path")
	})
	if err != nil {
		data = nil
	}
	return info, data, err
}

func (d *localDir) ReadDir(name string) (names []string, err error) {
	err = d.at("list", name, func(dir int, base string) error {
		fd, err := openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW) // with a place of its own in it
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		room := make([]byte, 4<<10)
		for {
			n := 0
			err := again(func() (err error) { n, err = unix.ReadDirent(fd, room); return err })
			if err != nil || n <= 0 {
				return err
			}
			if _, _, names = unix.ParseDirent(room[:n], -1, names); len(names) > entriesLimit {
				return errTooMany
			}
		}
	})
	if errors.Is(err, errTooMany) {
		return nil, tooManyNames(name)
	}
	return names, err
}

var errTooMany = errors.New("too many names")

// entriesLimit bounds a directory that certificates lie in.
const entriesLimit = 20_000

func tooManyNames(name string) error {
	return renewer.WithHint(fmt.Errorf("list %s: more than %d names", name, entriesLimit), "use a separate directory for the certificates: set dir:")
}
