package dockerhost

import (
	"context"
	"strconv"
	"strings"

	"renewer/renewer"
)

// Room is what is left on the file system of a placement's directory (df(1), -P).
type Room struct {
	Known bool
	Free  int64 // KiB
	Full  int   // percent
}

func diskFree(dir string) []string { return []string{"df", "-P", "-k", dir} }

func inspectRoom(ctx context.Context, m Machine, p renewer.Placement) (r Room) {
	out, err := m.Output(ctx, diskFree(p.Dir))
	if err != nil {
		return r // the directory is not there, or there is no df
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	cols := strings.Fields(lines[len(lines)-1])
	if len(cols) < 6 { // file system, size, used, free, percent, mount point
		return r
	}
	free, err1 := strconv.ParseInt(cols[3], 10, 64)
	full, err2 := strconv.Atoi(strings.TrimSuffix(cols[4], "%"))
	r.Known, r.Free, r.Full = err1 == nil && err2 == nil, free, full
	return r
}

// leastRoom is many times what the revisions of a certificate take.
const leastRoom = 1 << 10 // KiB

func disk(c Case) verdict {
	switch r := c.Facts.Room; {
	case !r.Known:
		return verdict{}
	case r.Free < leastRoom:
		return bad("free space there: df -h "+c.Placement.Dir+" and du -xh --max-depth=2 / show what takes it", "the file system of %s is full: %d KiB are left", c.Placement.Dir, r.Free)
	case r.Full >= 95:
		return warn("free space there before nothing can be written: df -h "+c.Placement.Dir, "the file system of %s is %d %% full", c.Placement.Dir, r.Full)
	}
	return fine("there is room in %s", c.Placement.Dir)
}
