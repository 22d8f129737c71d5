package remote

import (
	"context"
	"errors"
	"path"

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
var errStuck = errors.New("not a regular file")

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
