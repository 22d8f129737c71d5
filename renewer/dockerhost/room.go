package dockerhost

import (
	"context"

	"renewer/renewer"
)

// Room is what is left on the file system of a placement's directory.
type Room struct {
	Known bool
	Free  int64 // KiB
	Full  int   // percent
}

func inspectRoom(ctx context.Context, m Machine, p renewer.Placement) Room {
	r, err := m.Room(ctx, p.Dir)
	if err != nil {
		return Room{} // the directory is not there, or the SFTP server does not say it
	}
	return Room{true, int64(r.Free >> 10), r.Full()}
}

// leastRoom is many times what the revisions of a certificate take.
const leastRoom = 1 << 10 // KiB

func disk(c Case) verdict {
	switch r := c.Facts.Room; {
	case !r.Known:
		return verdict{}
	case r.Free < leastRoom:
		return bad("free disk space: run df -h "+c.Placement.Dir+" and du -xh --max-depth=2 / on the host", "the file system of %s is full: %d KiB are left", c.Placement.Dir, r.Free)
	case r.Full >= 95:
		return warn("free disk space before writes fail: run on the host df -h "+c.Placement.Dir, "the file system of %s is %d %% full", c.Placement.Dir, r.Full)
	}
	return fine("the file system of %s has free space", c.Placement.Dir)
}
