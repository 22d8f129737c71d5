package dockerhost

import (
	"context"
	"fmt"
	"path"
	"slices"
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

// Mounted is a container that runs with a file or directory of the host.
type Mounted struct{ Container, Source string }

func listMounts() []string {
	return []string{"docker", "-H", localSocket, "ps", "--no-trunc", "--format", mountMark + "{{.Names}} {{.Mounts}}"}
}

const mountMark = "renewer: "

func inspectMounts(ctx context.Context, m Machine) (out []Mounted) {
	text, err := m.Output(ctx, listMounts())
	if err != nil {
		return nil // no Docker here, or it does not run: then nothing is mounted
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), mountMark)
		name, mounts, more := strings.Cut(rest, " ")
		if !ok || !more {
			continue
		}
		for source := range strings.SplitSeq(mounts, ",") {
			if path.IsAbs(source) {
				out = append(out, Mounted{name, source})
			}
		}
	}
	return out
}

// singleMounts looks for containers that have a managed file alone: a rename does not
// reach them, so they keep the old file until they are started again.
func singleMounts(c Case) verdict {
	var found []string
	for _, m := range c.Facts.Mounts {
		inside := strings.HasPrefix(m.Source, path.Join(c.Placement.Dir, ".renewer")+"/")
		for _, name := range c.Placement.Files {
			inside = inside || m.Source == path.Join(c.Placement.Dir, name)
		}
		if inside {
			found = append(found, fmt.Sprintf("%s has %s", m.Container, m.Source))
		}
	}
	if len(found) == 0 {
		return verdict{}
	}
	slices.Sort(found)
	return warn("mount the directory instead (-v "+c.Placement.Dir+":"+c.Placement.Dir+":ro) and start the container again",
		"%s mounted as a single file: it keeps that file after a renewal", strings.Join(slices.Compact(found), "; "))
}
