package remote

import (
	"errors"
	"fmt"
	"io/fs"
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
		return renewer.WithHint(err, fmt.Sprintf("%s belongs to user %s, so renewer works there as that user; what root once made in it is to be theirs too: sudo chown -hR '%s' %s/.renewer",
			d.path, d.as, string(d.as[1:]), d.path))
	}
	if status.Code != sftp.CodeFailure {
		return err
	}
	const least = 64 << 10 // less than a certificate and a directory need
	exists := func() error {
		if _, there := d.Lstat(name); creates && there == nil {
			return because(err, fs.ErrExist)
		}
		return err
	}
	room, rerr := one(d, "statvfs", ".", (*sftp.Batch).Room)
	switch {
	case rerr != nil:
		return exists()
	case room.ReadOnly:
		return because(err, syscall.EROFS)
	case room.Free < least, room.Inodes > 0 && room.FreeInodes == 0:
		return because(err, fmt.Errorf("%w (%d bytes and %d inodes are free)", syscall.ENOSPC, room.Free, room.FreeInodes))
	}
	return exists()
}
