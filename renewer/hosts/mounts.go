package hosts

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"renewer/renewer"
)

// maxMounts bounds the list of mounts of a host with many containers.
const maxMounts = 4 << 20

// mounted refuses names in the directory that are mounts of their own: no rename
// replaces one, and who has it mounted elsewhere keeps the old content for ever. A
// host that does not show its mounts (proc(5)) is believed to have none.
func (h *Host) mounted(ctx context.Context, dir string, names []string) error {
	proc, err := h.transport.OpenDir(ctx, "/proc/self", false)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	defer proc.Close()
	text, err := proc.ReadFile("mountinfo", maxMounts)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	for _, point := range mountPoints(string(text)) {
		if path.Dir(point) == dir && slices.Contains(names, path.Base(point)) {
			return &renewer.Error{
				Class: renewer.ClassRefused, Err: fmt.Errorf("%s is a mount of its own, which no other file can replace", point),
				Hint: "mount the directory " + dir + " instead of the single file: umount " + point + " on the host, or change who mounts it there",
			}
		}
	}
	return nil
}

// mountPoints reads the fifth field of each line of mountinfo.
func mountPoints(text string) (out []string) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 4 {
			out = append(out, unescaped(fields[4]))
		}
	}
	return out
}

// unescaped undoes what the kernel writes for spaces and the like: \040.
func unescaped(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if n, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				s = s[4:]
				continue
			}
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String()
}
