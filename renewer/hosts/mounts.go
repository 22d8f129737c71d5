package hosts

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"renewer/renewer"
)

// mountsLimit bounds the list of mounts that is read.
const mountsLimit = 4 << 20

// notMounted refuses plain files that are mounts of their own, as `docker run -v
// FILE:FILE` or `mount --bind` makes them: nothing can be renamed over one.
// It is asked only before plain files are taken over; where there is no
// list of mounts nothing is refused.
func (h *Host) notMounted(ctx context.Context, dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	proc, err := h.transport.OpenDir(ctx, "/proc/self", false)
	if err != nil {
		return nil // the rename says it then
	}
	defer proc.Close()
	_, list, err := proc.ReadFile("mountinfo", mountsLimit)
	if err != nil {
		return nil // as above
	}
	mounted := mountPoints(string(list))
	for _, name := range names {
		if full := path.Join(dir, name); mounted[full] {
			return &renewer.Error{
				Class: renewer.ClassRefused, Err: fmt.Errorf("%s is a mount point and cannot be replaced", full),
				Hint: fmt.Sprintf("mount the directory %s instead of the file; if the mount is not needed, run on the host: umount %s", dir, full),
			}
		}
	}
	return nil
}

// mountPoints: the fifth field of each line (proc_pid_mountinfo(5)).
func mountPoints(list string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 4 {
			out[unescape(f[4])] = true
		}
	}
	return out
}

// unescape: space, tab, line feed and backslash are octal numbers there.
func unescape(s string) string {
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\`)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		const digits = 3
		n, err := strconv.ParseUint(after[:min(digits, len(after))], 8, 8)
		if err != nil || len(after) < digits {
			out.WriteByte('\\')
			s = after
			continue
		}
		out.WriteByte(byte(n))
		s = after[digits:]
	}
}
