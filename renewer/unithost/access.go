package unithost

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"renewer/renewer"
)

// listWay lists the directories that lead to a placement's files: ls(1) alone says,
// with +, whether an access list goes beyond the mode.
func listWay(dir string) []string {
	way := []string{dir}
	for dir != "/" {
		dir = path.Dir(dir)
		way = append([]string{dir}, way...)
	}
	return append([]string{"ls", "-ldn", "--"}, way...)
}

// KeyDoubts says whether the unit's user could read the key of a placement as it
// will be placed: its owner and group by their numbers.
func (f Facts) KeyDoubts(ctx context.Context, m Machine, p renewer.Placement, owner, group int) ([]renewer.Doubt, error) {
	kind := renewer.FileKey
	if p.Files[kind] == "" {
		kind = renewer.FileBundle
	}
	key := p.Files[kind]
	if key == "" || f.AnyKey || f.Elsewhere || f.Load != "loaded" || f.User == "root" || f.User == "0" {
		return nil, nil
	}
	uid, groups, err := m.Account(ctx, f.User, f.groups)
	if err != nil || uid == 0 {
		return nil, err
	}
	who := account{uid, groups}
	sure := func(fix, format string, a ...any) []renewer.Doubt {
		return []renewer.Doubt{{Sure: true, Unit: f.Unit, Fix: fix, Text: fmt.Sprintf("it runs as %s (User=) and ", f.User) + fmt.Sprintf(format, a...) + ": it cannot read its key"}}
	}
	out, err := m.Output(ctx, listWay(p.Dir))
	if err != nil {
		return nil, ctx.Err() // a first placement makes them
	}
	var last entry
	for line := range strings.Lines(out) {
		e, ok := readEntry(line)
		if !ok {
			return nil, nil // a link: it leads elsewhere
		}
		if last = e; !e.list && !who.may(e.mode, e.uid, e.gid, 1) {
			return sure(fmt.Sprintf("allow that user to enter the directory, for example chmod o+x %s, or set dir: to another directory", e.path), "cannot enter %s (mode %04o)", e.path, e.mode), nil
		}
	}
	mode := p.Modes[kind].Perm()
	if last.list || who.may(mode, owner, group, 4) { // files take over an access list of their directory
		return nil, nil
	}
	return sure("set owner: "+f.User+" for "+p.Certificate, "%s belongs to user %d and group %d with mode %04o", path.Join(p.Dir, key), owner, group, mode), nil
}

type account struct {
	uid    int
	groups []int
}

// may reports whether the mode lets an account read (4) or pass (1): what is said of
// the owner holds for the owner alone, and so on (path_resolution(7)).
func (a account) may(mode fs.FileMode, uid, gid int, want fs.FileMode) bool {
	switch {
	case a.uid == uid:
		return mode>>6&want != 0
	case slices.Contains(a.groups, gid):
		return mode>>3&want != 0
	}
	return mode&want != 0
}

// entry is a directory as ls -ldn prints it.
type entry struct {
	path     string
	mode     fs.FileMode
	uid, gid int
	list     bool // it has an access list beside its mode (acl(5))
}

// readEntry reads drwxr-x---+ 3 0 997 4096 Nov 28 07:17 /etc/web.
func readEntry(line string) (e entry, ok bool) {
	f := strings.Fields(line)
	if len(f) < 9 || len(f[0]) < 10 || f[0][0] != 'd' {
		return e, false
	}
	for i, c := range f[0][1:10] {
		if c == 't' || c == 's' {
			c = 'x'
		}
		if c == rune("rwxrwxrwx"[i]) {
			e.mode |= 1 << (8 - i)
		}
	}
	uid, uerr := strconv.Atoi(f[2])
	gid, gerr := strconv.Atoi(f[3])
	_, at, _ := strings.Cut(line, " /")
	e.path, e.uid, e.gid, e.list = "/"+strings.TrimRight(at, "\n"), uid, gid, strings.HasSuffix(f[0], "+")
	return e, cmp.Or(uerr, gerr) == nil
}
