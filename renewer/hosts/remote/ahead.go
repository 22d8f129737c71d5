package remote

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// looking is a list of looks at a directory: what is asked by name goes in one
// journey, what that has opened is read in a second one.
type looking struct {
	d     *dir
	at    string // the path that names are put behind
	links map[string]sftp.Reply[string]
	infos map[string]sftp.Reply[sftp.Info]
	lists map[string]sftp.Reply[*sftp.File]
	syncs map[string]sftp.Reply[*sftp.File]
	there map[string]*sftp.File // lists that were opened
	files []fileLook
	next  *hosts.Next

	more *sftp.Batch // the second journey
	rest []func(ctx context.Context) error
}

// fileLook is a file that is opened before it is known what it is: what is no
// regular file is not waited for.
type fileLook struct {
	name string
	what sftp.Reply[sftp.Info]
	open sftp.Reply[*sftp.File]
}

// look adds to a batch what is not known yet.
func (d *dir) look(b *sftp.Batch, at string, a hosts.Ahead) *looking {
	l := &looking{
		d: d, at: at, next: a.Next, links: map[string]sftp.Reply[string]{}, infos: map[string]sftp.Reply[sftp.Info]{},
		lists: map[string]sftp.Reply[*sftp.File]{}, syncs: map[string]sftp.Reply[*sftp.File]{},
		there: map[string]*sftp.File{},
	}
	for _, name := range a.Links {
		if _, known := lookUp(d.seen, d.seen.links, name); !known {
			l.links[name] = b.ReadLink(path.Join(at, name))
		}
	}
	for _, name := range a.Infos {
		if _, known := lookUp(d.seen, d.seen.infos, name); !known && !d.seen.missing(name) {
			l.infos[name] = b.Lstat(path.Join(at, name))
		}
	}
	for _, name := range a.Lists {
		l.list(b, name)
	}
	for _, t := range a.Trees {
		if link, known := lookUp(d.seen, d.seen.links, t.Dir); known {
			if link.err != nil {
				continue
			}
			t.Dir = path.Join(path.Dir(t.Dir), link.value)
		}
		if l.list(b, t.Dir) {
			for _, f := range t.Files {
				f = path.Join(t.Dir, f)
				l.files = append(l.files, fileLook{f, b.Lstat(path.Join(at, f)), b.Open(path.Join(at, f), sftp.Read)})
			}
		}
	}
	for _, name := range a.Syncs {
		if _, open := d.seen.handles[name]; !open {
			l.syncs[name] = b.Open(path.Join(at, name)+"/.", sftp.Read) // which a pipe does not hold up
		}
	}
	return l
}

func (l *looking) list(b *sftp.Batch, name string) bool {
	_, known := lookUp(l.d.seen, l.d.seen.lists, name)
	_, asked := l.lists[name]
	if !known && !asked && !l.d.seen.missing(name) {
		l.lists[name] = b.OpenDir(path.Join(l.at, name))
		return true
	}
	return false
}

// fatal is an error of the session, and not of what was asked.
func fatal(err error) bool {
	var refused *sftp.StatusError
	return err != nil && !errors.As(err, &refused)
}

// errStuck: something was opened that holds up the server.
var errStuck = errors.New("what was opened is no regular file")

// take waits for the answers and remembers them. Only what ends the session is
// an error: what was refused is asked again by who needs it.
func (l *looking) take(ctx context.Context) error {
	for _, f := range l.files { // first: behind what is stuck there are no answers
		i, err := f.what.Get(ctx)
		if fatal(err) {
			return err
		}
		if err == nil && i.Mode&(fs.ModeNamedPipe|fs.ModeDevice) != 0 {
			return errStuck
		}
	}
	m := l.d.seen
	l.more = l.d.batch()
	for name, r := range l.links {
		target, err := r.Get(ctx)
		if fatal(err) {
			return err
		}
		keep(m, m.links, name, target, err)
		if _, asked := l.infos[name]; err != nil && !errors.Is(err, fs.ErrNotExist) && !asked { // no link
			l.later(l.info(name, l.more.Lstat(path.Join(l.at, name))))
		}
	}
	for name, r := range l.infos {
		if err := l.info(name, r)(ctx); err != nil {
			return err
		}
	}
	if err := l.opened(ctx); err != nil {
		return err
	}
	l.begin()
	if !l.more.Empty() {
		_ = l.more.Send() // Get tells
	}
	for _, get := range l.rest {
		if err := get(ctx); err != nil {
			return err
		}
	}
	return l.begun(ctx)
}

func (l *looking) later(get func(ctx context.Context) error) { l.rest = append(l.rest, get) }

// info remembers what a name is.
func (l *looking) info(name string, r sftp.Reply[sftp.Info]) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		i, err := r.Get(ctx)
		keep(l.d.seen, l.d.seen.infos, name, about(i), err)
		return fatalOnly(err)
	}
}

// opened asks what is in what was opened.
func (l *looking) opened(ctx context.Context) error {
	m := l.d.seen
	for name, r := range l.syncs {
		f, err := r.Get(ctx)
		if fatal(err) {
			return err
		}
		if err == nil {
			m.handles[name] = f
		}
	}
	for name, r := range l.lists {
		f, err := r.Get(ctx)
		if fatal(err) {
			return err
		}
		real, ok := l.real(name)
		if err != nil {
			keep(m, m.lists, name, nil, err)
			continue
		}
		l.there[name] = f
		if m.closing = append(m.closing, f); !ok {
			continue
		}
		if real != name {
			l.later(l.info(real, l.more.Lstat(path.Join(l.at, real))))
		}
		names := l.more.List(f)
		l.later(func(ctx context.Context) error {
			found, err := names.Get(ctx)
			if err == nil {
				m.listed(real, found)
			}
			return fatalOnly(err)
		})
	}
	for _, file := range l.files {
		f, err := file.open.Get(ctx)
		if fatal(err) {
			return err
		}
		dir, ok := l.real(path.Dir(file.name))
		if err != nil {
			continue
		}
		if m.closing = append(m.closing, f); !ok {
			continue
		}
		real, read := path.Join(dir, path.Base(file.name)), l.more.Content(f, contentKept+1, contentKept/2)
		what, _ := file.what.Get(ctx)
		keep(m, m.infos, real, about(what), nil)
		l.later(func(ctx context.Context) error {
			i, data, err := read.Get(ctx)
			if err == nil && i.Mode.IsRegular() && what.Mode.IsRegular() && len(data) <= contentKept {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.data[real] = content{about(i).Info, data}
			}
			return fatalOnly(err)
		})
	}
	return nil
}

// begin makes what is going to be published, if it has somewhere to be made.
func (l *looking) begin() {
	d := l.d
	if l.next == nil || d.foreign(l.next.Owner) || l.there[path.Dir(l.next.Temp)] == nil {
		return
	}
	var files []string
	for _, f := range l.next.Files {
		files = append(files, path.Join(l.at, l.next.Temp, f))
	}
	d.begun = l.more.Begin(path.Join(l.at, l.next.Temp), files)
}

// begun forgets what was not begun because something is there, and takes what was
// out of the listing, where a server may have done one thing before the other.
func (l *looking) begun(ctx context.Context) error {
	d := l.d
	if d.begun == nil || l.next == nil {
		return nil
	}
	made, open, err := d.begun.Made(ctx)
	if err != nil {
		return err
	}
	if !made {
		d.begun, d.seen.closing = nil, append(d.seen.closing, open...)
		return nil
	}
	room, name := path.Split(l.next.Temp)
	if list, ok := lookUp(d.seen, d.seen.lists, path.Clean(room)); ok {
		list.value = slices.DeleteFunc(slices.Clone(list.value), func(n string) bool { return n == name })
		keep(d.seen, d.seen.lists, path.Clean(room), list.value, nil)
		delete(d.seen.infos, l.next.Temp)
	}
	return nil
}

// real is what a directory is called that was entered through a link; false
// where the link names none beside it.
func (l *looking) real(dir string) (string, bool) {
	link, ok := lookUp(l.d.seen, l.d.seen.links, dir)
	if !ok || link.err != nil {
		return dir, true
	}
	return path.Join(path.Dir(dir), link.value), fs.ValidPath(link.value) && path.Base(link.value) == link.value
}

func fatalOnly(err error) error {
	if fatal(err) && !errors.Is(err, sftp.ErrTooMany) {
		return err
	}
	return nil
}

// Ahead looks at all of it.
func (d *dir) Ahead(a hosts.Ahead) { _ = d.ahead(a) } // who needs it tells

func (d *dir) ahead(a hosts.Ahead) error {
	b := d.f.Batch()
	l := d.look(b, d.path, a)
	if b.Empty() {
		return nil
	}
	d.seen.closes(b)
	_ = b.Send() // take tells
	return d.taken(l, a)
}

// taken has the answers remembered. A session that is stuck is given up, and
// another one looks at what is left without opening anything.
func (d *dir) taken(l *looking, a hosts.Ahead) error {
	_, err := ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, l.take(ctx) })
	if !errors.Is(err, errStuck) {
		return err
	}
	d.c.drop(d.f)
	d.c.unused(d.f)
	d.f, _, err = d.c.sftp(d.ctx, d.as, nil)
	if err != nil {
		return err
	}
	d.seen.of(d.f)
	a.Trees, a.Next = nil, nil
	return d.ahead(a)
}
