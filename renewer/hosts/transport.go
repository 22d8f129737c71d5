package hosts

import (
	"context"
	"io/fs"
	"net"

	"renewer/renewer"
)

// AnySignal is no signal: that one could be sent is all that is found (kill(2)).
const AnySignal = "0"

// Transport reaches one machine. It is used by many goroutines at once.
// Errors keep what the system said where they can: fs.ErrNotExist,
// fs.ErrPermission, syscall.ENOSPC, syscall.EROFS.
type Transport interface {
	// OpenDir opens the directory at an absolute path below the host's root;
	// with create it makes what is missing of it, mode 0755. The way there
	// may lead through symbolic links. first is what will be looked at first,
	// see Dir.Ahead. The Dir is good until ctx ends.
	OpenDir(ctx context.Context, path string, create bool, first ...Ahead) (Dir, error)
	// Run runs an argument vector, never a shell line, and returns the end of
	// what it printed on standard output; where it failed, that with what stood
	// on standard error. It ends with ctx, and so does everything that it
	// started. A non-zero exit is an error. It is run only if every one of the
	// directories given is there, where a Transport can look at that in the same
	// step; else it fails.
	Run(ctx context.Context, argv []string, given ...string) (output []byte, err error)
	// Signal sends a signal, such as HUP, to a process, or with AnySignal none,
	// with the rights of a user: who wrote down which process it is must not
	// reach more by that. os.ErrProcessDone: there is no such process.
	Signal(ctx context.Context, pid int, signal string, user int) error
	// DialDocker connects to the Docker daemon of the machine, which listens on
	// a unix socket at an absolute path below the host's root. syscall.ECONNREFUSED
	// or fs.ErrNotExist: it does not run; where the connection goes through
	// another program, the first read or write may be what says so.
	DialDocker(ctx context.Context, socket string) (net.Conn, error)
	// Owner resolves names or numbers. An empty user is the one that files
	// are written as; an empty group is the user's own. Where that can only be
	// seen from a file, one is made below dir for a moment.
	Owner(ctx context.Context, user, group, dir string) (Owner, error)
	// Alone reports whether a user, and root, are alone in a group; false
	// where that cannot be found out.
	Alone(ctx context.Context, o Owner) bool
	// Groups are the numbers of all groups of a user, by name or number.
	Groups(ctx context.Context, user string) ([]int, error)
	// Close gives up the connection.
	Close() error
}

// Owner is who owns a file.
type Owner struct{ UID, GID int }

// Info is what Lstat tells.
type Info struct {
	Mode  fs.FileMode
	Owner Owner
}

// Dir is one directory and what lies below it, by relative slash-separated
// names. The names given to it have no symbolic link in them but the last
// part, as far as the caller can know; no method follows one there, and a Dir
// that can tell refuses to be led out of its directory. One goroutine uses it.
type Dir interface {
	// Ahead looks at what will be needed next, so that a Dir for which every
	// look is a journey can make one of all. Failures are reported to the caller that needs the file.
	Ahead(a Ahead)
	// Mkdir makes a directory with mode 0700.
	Mkdir(name string) error
	// Chmod sets the mode of a directory.
	Chmod(name string, mode fs.FileMode) error
	// Create makes files, and fails if one of the names is there. Each has its
	// owner and its mode before its first byte, and is on disk as far as Sync
	// can see to that. An error may leave some of them, whole or in part.
	Create(files ...File) error
	// ReadFile returns a regular file of at most limit bytes, and what was
	// opened: a name that is changed meanwhile mixes nothing.
	ReadFile(name string, limit int64) (Info, []byte, error)
	// ReadDir returns the names in a directory.
	ReadDir(name string) ([]string, error)
	Lstat(name string) (Info, error)
	Readlink(name string) (string, error)
	// Publish makes a directory of files as Create does, under temp and for its
	// owner alone, looks whether they are there as they are to be and nothing
	// else, and gives it its mode and its name then. An error may leave temp.
	Publish(temp, name string, mode fs.FileMode, files ...File) error
	// Link puts a link under a name, whatever is there, at once, and has that on
	// disk. temp is a name that no one else uses.
	Link(target, temp, name string) error
	// Rename replaces what is there, at once, and has that on disk.
	Rename(from, to string) error
	// Remove removes files, links and directories that are empty by then, one
	// after another.
	Remove(names ...string) error
	// Discard puts a link into a directory of files, as Link does, under the name
	// gone; only then it renames the directory and removes it with its files, most of
	// them of likely names. An error may leave temp.
	Discard(name, temp, gone string, likely []string) error
	// Sync makes what happened in a directory durable; a transport that
	// cannot returns nil and says so in its documentation, here and where
	// something is to be on disk.
	Sync(name string) error
	// Room tells how much is left on the file system.
	Room() (renewer.Room, error)
	Close() error
}

// Ahead names what will be looked at in a Dir.
type Ahead struct {
	Recent bool     // first, what was seen in this directory seconds ago still counts
	Lists  []string // for ReadDir
	Infos  []string // for Lstat
	Links  []string // for Readlink
	Trees  []Tree
	Syncs  []string // directories in which something is going to change
	Next   *Next    // what is going to be published, as far as it is known
}

// Next is a directory that Publish is going to make, of files that have no content yet.
// Where it is not published after all, it is gone when the Dir is closed.
type Next struct {
	Temp  string // its parent is one of Lists
	Files []string
	Owner Owner
}

// Tree is a directory that only renewer writes in, and files in it: for all of the
// above and ReadFile. Where Dir is one of Links, they are the names in the directory
// beside it that the link names.
type Tree struct {
	Dir   string
	Files []string
}

// File is one file with everything that makes it what it is.
type File struct {
	Name  string
	Mode  fs.FileMode
	Owner Owner
	Data  []byte
}
