package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"renewer/internal/sftp"
	"renewer/renewer"
)

// explain finds out what a mere "Failure" of the server (SSH_FX_FAILURE, draft-
// ietf-secsh-filexfer-02, section 7) stands for, where that can be seen.
func (d *dir) explain(err error, name string, creates bool) error {
	var status *sftp.StatusError
	if err == nil || !errors.As(err, &status) {
		return err
	}
	if status.Code == sftp.CodeNoSuchFile {
		d.c.loseWay(d.asked) // perhaps the directory has gone
	}
	if status.Code == sftp.CodePermission && d.as != asRoot && d.c.t.cfg.Sudo {
		return d.notAllowed(err, name)
	}
	if status.Code != sftp.CodeFailure {
		return err
	}
	if creates {
		if _, lerr := d.Lstat(name); lerr == nil {
			return because(err, fs.ErrExist)
		}
	}
	const least = 64 << 10 // less than a certificate and a directory need
	room, rerr := one(d, "statvfs", ".", (*sftp.Batch).Room)
	switch {
	case rerr != nil:
		return err
	case room.ReadOnly:
		return because(err, syscall.EROFS)
	case room.Free < least, room.Inodes > 0 && room.FreeInodes == 0:
		return because(err, fmt.Errorf("%w (%d bytes and %d inodes are free)", syscall.ENOSPC, room.Free, room.FreeInodes))
	}
	return err
}

// notAllowed says what keeps the user from it in whose directory renewer works.
func (d *dir) notAllowed(err error, name string) error {
	at := "."
	for _, part := range strings.Split("./"+name, "/") {
		at = path.Join(at, part)
		if i, lerr := d.Lstat(at); lerr != nil {
			break
		} else if asUser(i.Owner.UID) != d.as {
			return renewer.WithHint(err, d.giveBack(at))
		}
	}
	return renewer.WithHint(err, fmt.Sprintf("renewer writes in %s as user %s, its owner; run on the host: lsattr -d %s; remove the attributes i and a with chattr -ia", d.path, d.as, path.Join(d.path, path.Dir(name))))
}

// giveBack is the hint that makes the user's what lies in their directory and is not.
func (d *dir) giveBack(name string) string {
	first, how := strings.Split(name, "/")[0], "-hR"
	if first == "." {
		how = "-h"
	}
	return fmt.Sprintf("%s belongs to user %s, so renewer writes there as that user; run on the host: sudo chown %s %s %s", d.from, d.as, how, string(d.as[1:]), path.Join(d.path, first))
}
