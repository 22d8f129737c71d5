package inventory

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileID tells a file from every copy of it, also from one of the same name on another
// file system: a copy has an inode of its own, or was made later. It stays as it is
// where the file is renamed, its directory moved on one file system, or the machine
// started again. What is zero is not known.
type fileID struct {
	Inode uint64 `json:"inode,omitempty"`
	Born  int64  `json:"born,omitempty"` // when it was made, in nanoseconds
}

// unstable are file systems that number their files as they are asked for them.
var unstable = []int64{unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC}

func fileIDOf(f *os.File) (id fileID) {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) != nil {
		return id
	}
	for _, kind := range unstable {
		if int64(uint32(fs.Type)) == kind {
			return id
		}
	}
	var st unix.Statx_t
	if unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st) != nil {
		return id
	}
	id.Inode = st.Ino
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id
}

// other reports whether it is certain that two are not one file.
func (f fileID) other(than fileID) bool {
	return f.Inode != 0 && than.Inode != 0 && f.Inode != than.Inode || f.Born != 0 && than.Born != 0 && f.Born != than.Born
}
