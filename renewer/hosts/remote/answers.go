package remote

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"renewer/internal/sftp"
)

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
