package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"renewer/renewer"
)

// Host places certificates on one machine. It is safe for many goroutines;
// what touches the files of one directory is done one after another. A second
// renewer that places into the same directory is kept out: see mark.go.
type Host struct {
	name      string
	transport Transport
	me        func() renewer.Mark
	systemctl string
	docker    string
	date      string

	mu     sync.Mutex
	dirs   map[string]*sync.Mutex // by Placement.Dir
	rooms  map[string]string      // the rooms that were last written in, by Placement.Dir
	staged map[string]string      // by directory and certificate: the revision that Stage left, until a Flip
	left   map[string]error       // likewise: what Stage could not remove, until a Prune
}

// New returns the host that t reaches, which any renewer may place on that does so
// without a name: see As. Closing t is the caller's.
func New(h renewer.Host, t Transport) *Host {
	nameless := func() renewer.Mark { return renewer.Mark{Fleet: "none", Incarnation: "none"} }
	return &Host{
		name: h.Name, transport: t, me: nameless, systemctl: "systemctl", docker: "docker", date: "date",
		dirs: map[string]*sync.Mutex{}, rooms: map[string]string{}, staged: map[string]string{}, left: map[string]error{},
	}
}

// As has directories kept for the renewer that me says, from now on.
func (h *Host) As(me func() renewer.Mark) *Host {
	h.me = me
	return h
}

// Run runs an argument vector on the host; a non-zero exit is an error that
// holds the end of what was printed.
func (h *Host) Run(ctx context.Context, argv []string) error {
	_, err := h.output(ctx, argv)
	if err != nil {
		return fmt.Errorf("host %s: %w", h.name, err)
	}
	return nil
}

// output is Run with what was printed.
func (h *Host) output(ctx context.Context, argv []string, given ...string) (string, error) {
	out, err := h.transport.Run(ctx, argv, given...)
	if err != nil {
		if said := lastLines(out); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	return string(out), err
}

// Check reports whether the host can be reached.
func (h *Host) Check(ctx context.Context) error {
	dir, err := h.transport.OpenDir(ctx, "/", false)
	if err != nil {
		return fmt.Errorf("host %s: %w", h.name, err)
	}
	return dir.Close()
}

// open locks and opens the directory of a placement. The error wraps
// fs.ErrNotExist if there is none and create is false.
func (h *Host) open(ctx context.Context, p renewer.Placement, create bool, first Ahead) (*place, error) {
	if err := validate(p); err != nil {
		return nil, err
	}
	h.mu.Lock()
	lock := h.dirs[p.Dir]
	if lock == nil {
		lock = new(sync.Mutex)
		h.dirs[p.Dir] = lock
	}
	h.mu.Unlock()
	lock.Lock()
	dir, err := h.transport.OpenDir(ctx, p.Dir, create, first)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	return &place{h: h, dir: dir, path: p.Dir, base: baseOf(p), me: h.me(), real: map[string]bool{}, unlock: lock.Unlock}, nil
}

// validate refuses what would lead out of the directory. The fleet file was
// checked before; this is the last door before the disk.
func validate(p renewer.Placement) error {
	if !path.IsAbs(p.Dir) || path.Clean(p.Dir) != p.Dir || p.Dir == "/" {
		return fmt.Errorf("directory %q is not an absolute, clean path", p.Dir)
	}
	if !plainName(p.Certificate) {
		return fmt.Errorf("certificate name %q cannot be a directory's name", p.Certificate)
	}
	if len(p.Files) == 0 {
		return errors.New("no files to place")
	}
	seen := map[string]renewer.FileKind{}
	for _, kind := range slices.Sorted(maps.Keys(p.Files)) {
		name := p.Files[kind]
		if !plainName(name) {
			return fmt.Errorf("file name %q of %s is not a plain name", name, kind)
		}
		if other, ok := seen[name]; ok {
			return fmt.Errorf("%s and %s both claim the file %s", other, kind, name)
		}
		seen[name] = kind
	}
	return nil
}

// plainName is one path part that leads nowhere else.
func plainName(s string) bool {
	return fs.ValidPath(s) && s != "." && s != storeDir && len(s) <= 255 && !strings.ContainsAny(s, "/\\\x00\n")
}

// doing says what was done to which placement, and adds a hint for what
// the system says.
func (h *Host) doing(what string, p renewer.Placement, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("host %s: %s %s in %s: %w", h.name, what, p.Certificate, p.Dir, err)
	if renewer.Hint(err) != "" {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return renewer.WithHint(err, "free space (or inodes) on the file system of "+p.Dir+"; the current certificate was not touched, and renewer retries")
	case errors.Is(err, syscall.EBUSY):
		return misconfigured(err, "a file in "+p.Dir+" is a mount point and cannot be replaced: mount the directory instead (volumes: [\""+p.Dir+":"+p.Dir+":ro\"])")
	case errors.Is(err, syscall.EROFS):
		return renewer.WithHint(err, "the file system of "+p.Dir+" is mounted read-only; remount it, or add the directory to ReadWritePaths= of renewer.service: systemctl edit renewer")
	case errors.Is(err, syscall.EBUSY):
		return renewer.WithHint(err, "a file there is a mount point, or in use by the kernel; run on the host: findmnt --submounts; mount the directory "+p.Dir+" instead of single files")
	case errors.Is(err, syscall.EXDEV):
		return renewer.WithHint(err, "parts of "+p.Dir+" are on different file systems; run on the host: findmnt --submounts; mount the whole directory")
	case errors.Is(err, syscall.EPERM):
		return renewer.WithHint(err, "if renewer writes as root there, a file cannot be changed: lsattr -d "+p.Dir+"/* shows the attributes i and a, which chattr -ia takes away; else run it as root (over SSH: sudo: true for the host), or give it the directory")
	case errors.Is(err, fs.ErrPermission):
		return renewer.WithHint(err, "renewer has to write in "+p.Dir+" and to give files their owner: run it as root (over SSH: sudo: true for the host), or give it the directory and set owner: to its user")
	}
	return err
}

func misconfigured(err error, hint string) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Err: err, Hint: hint}
}

// lastLines makes the end of a command's output fit for one line of an error.
func lastLines(out []byte) string {
	const limit = 512
	s := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(string(out[max(0, len(out)-limit):])), ""))
	return strings.Join(strings.Fields(s), " ")
}
