package hosts

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"renewer/renewer"
)

// othersWrite reports whether a mode lets somebody write who is neither the owner nor
// root. A group of which the owner is the only member, as useradd(8) makes one for each
// user, is the owner; alone tells, and is asked only where that decides.
func othersWrite(i Info, alone func(Owner) bool) bool {
	const group, all = 0o020, 0o002
	perm := i.Mode.Perm()
	return perm&all != 0 || perm&group != 0 && (alone == nil || !alone(i.Owner))
}

// OwnGroup reports whether a group has one member, who is a user, or root beside it,
// by passwd(5) and the group's line of group(5). What they do not say is not so.
func OwnGroup(o Owner, passwd, group string) bool {
	fields := strings.Split(strings.TrimSpace(group), ":")
	const entry = 4
	if len(fields) != entry || fields[2] != strconv.Itoa(o.GID) {
		return false
	}
	names, found := map[string]bool{}, false
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) <= entry {
			continue
		}
		if uid, err := strconv.Atoi(f[2]); err == nil && (uid == o.UID || uid == 0) {
			names[f[0]], found = true, found || uid == o.UID
		} else if f[3] == fields[2] {
			return false
		}
	}
	for name := range strings.SplitSeq(fields[3], ",") {
		if name != "" && !names[name] {
			return false
		}
	}
	return found
}

// theirsAlone refuses a file that others than its owner and root may write: what it says
// would be what they want. It is judged by what was opened.
func (h *Host) theirsAlone(ctx context.Context, file string, i Info, then string) error {
	if !othersWrite(i, func(o Owner) bool { return h.transport.Alone(ctx, o) }) {
		return nil
	}
	return &renewer.Error{
		Class: renewer.ClassMisconfigured,
		Err:   fmt.Errorf("%s of user %d, group %d, has mode %04o: other users can write it, %s", file, i.Owner.UID, i.Owner.GID, i.Mode&fs.ModePerm, then),
		Hint:  "run on the host: chmod go-w " + file + "; if the mode comes back, set UMask=0022 in the unit that writes the file",
	}
}
