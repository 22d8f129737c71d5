package inventory

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Release takes the file's pages out of this process: they count as its memory
// once they were read. They stay in the system's cache, so the next read costs
// little. What the system does not do is of no consequence.
func (i *Inventory) Release() {
	path, err := filepath.EvalSymlinks(i.path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return
	}
	_ = i.view(func(*bolt.Tx) error { // while it lasts, the file stays mapped where it is
		maps, err := os.Open("/proc/self/maps")
		if err != nil {
			return nil
		}
		defer func() { _ = maps.Close() }()
		for lines := bufio.NewScanner(maps); lines.Scan(); {
			fields := strings.Fields(lines.Text()) // FROM-TO MODE OFFSET DEVICE INODE PATH: see proc(5)
			if len(fields) < 6 || strings.Join(fields[5:], " ") != path || !strings.HasPrefix(fields[1], "r--s") {
				continue
			}
			from, to, _ := strings.Cut(fields[0], "-")
			begin, err := strconv.ParseUint(from, 16, 64)
			end, err2 := strconv.ParseUint(to, 16, 64)
			if err == nil && err2 == nil && end > begin {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
			}
		}
		return nil
	})
}
