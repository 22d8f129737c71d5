package remote

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// memory is what was asked about a directory and not changed by renewer since:
// each request costs a round trip, and placing asks for most things several
// times. It is that of one call of a Host. Where the next one follows at once
// and says so (hosts.Ahead.Recent), it is taken over.
type memory struct {
	mu    sync.Mutex
	infos map[string]answer[info]
	lists map[string]answer[[]string]
	links map[string]answer[string]
	data  map[string]content

	before  *memory               // of the call before, without one of its own
	session *files                // what follows is open there
	handles map[string]*sftp.File // directories, to be synced
	closing []*sftp.File          // needed no more
}

// answer is what a host answered: that a name is missing is one too.
type answer[T any] struct {
	value T
	err   error
}

// info is what SFTP tells of a name, itself and not what it leads to.
type info struct {
	hosts.Info
	size int64
}

func about(i sftp.Info) info {
	return info{Info: hosts.Info{Mode: i.Mode, Owner: hosts.Owner{UID: int(i.UID), GID: int(i.GID)}}, size: int64(min(i.Size, 1<<62))}
}

// content is a file as it was read.
type content struct {
	info hosts.Info
	data []byte
}

// contentKept is the largest file whose content is kept.
const contentKept = 64 << 10

func newMemory() *memory {
	return &memory{
		infos: map[string]answer[info]{}, lists: map[string]answer[[]string]{}, links: map[string]answer[string]{},
		data: map[string]content{}, handles: map[string]*sftp.File{},
	}
}

// reset knows nothing but what is open, and what was known.
func (m *memory) reset() *memory {
	n := newMemory()
	n.session, n.handles, n.closing = m.session, m.handles, m.closing
	m.before, m.handles, m.closing = nil, nil, nil
	n.before = m
	return n
}

// recall takes over what was known before and not asked since.
func (m *memory) recall() {
	b := m.before
	if m.before = nil; b == nil {
		return
	}
	older(m.infos, b.infos)
	older(m.lists, b.lists)
	older(m.links, b.links)
	older(m.data, b.data)
}

func older[T any](to, from map[string]T) {
	for name, v := range from {
		if _, ok := to[name]; !ok {
			to[name] = v
		}
	}
}

// of gives the session's own handles; those of another one are gone.
func (m *memory) of(f *files) {
	if m.session != f {
		m.session, m.handles, m.closing = f, map[string]*sftp.File{}, nil
	}
}

// lookUp returns what a map holds under a name.
func lookUp[T any](m *memory, in map[string]answer[T], name string) (answer[T], bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := in[name]
	return t, ok
}

// keep notes an answer, if it is one.
func keep[T any](m *memory, in map[string]answer[T], name string, value T, err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		m.mu.Lock()
		defer m.mu.Unlock()
		in[name] = answer[T]{value, err}
	}
}

// missing reports whether the listing of its directory lacks a name.
func (m *memory) missing(name string) bool {
	list, ok := lookUp(m, m.lists, path.Dir(name))
	return ok && name != "." && (list.err != nil || !slices.Contains(list.value, path.Base(name)))
}

// listed keeps a listing, and what it tells of each name.
func (m *memory) listed(dir string, found []sftp.Entry) []string {
	names := make([]string, 0, len(found))
	for _, e := range found {
		names = append(names, e.Name)
		keep(m, m.infos, path.Join(dir, e.Name), about(e.Info), nil)
	}
	keep(m, m.lists, dir, names, nil)
	return names
}

// forget drops what a change of a name may have made untrue: of itself, of
// all below it, and the listing that it stands in.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(name)
	for have, h := range m.handles {
		if below(have, name) {
			m.closing = append(m.closing, h)
			delete(m.handles, have)
		}
	}
}

func (m *memory) drop(name string) {
	for ; m != nil; m = m.before {
		delete(m.lists, path.Dir(name))
		drop(m.infos, name)
		drop(m.lists, name)
		drop(m.links, name)
		drop(m.data, name)
	}
}

// put says that a name has something else under it from now on.
func (m *memory) put(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, listed := m.lists[path.Dir(name)]
	m.drop(name)
	if base := path.Base(name); listed && dir.err == nil {
		if !slices.Contains(dir.value, base) {
			dir.value = append(slices.Clone(dir.value), base)
		}
		m.lists[path.Dir(name)] = dir
	}
}

// move keeps what is known of a name, and of all below it, under another name
// that it has got.
func (m *memory) move(from, to string) {
	infos, lists, links, data := maps.Clone(m.infos), maps.Clone(m.lists), maps.Clone(m.links), maps.Clone(m.data)
	m.forget(from)
	m.put(to)
	m.mu.Lock()
	defer m.mu.Unlock()
	rename(m.infos, infos, from, to)
	rename(m.lists, lists, from, to)
	rename(m.links, links, from, to)
	rename(m.data, data, from, to)
}

func rename[T any](in, was map[string]T, from, to string) {
	for have, v := range was {
		if have == from || strings.HasPrefix(have, from+"/") {
			in[to+have[len(from):]] = v
		}
	}
}

func drop[T any](from map[string]T, name string) {
	for have := range from {
		if below(have, name) {
			delete(from, have)
		}
	}
}

// below reports whether one name is another one, or lies below it.
func below(name, top string) bool {
	return name == top || top == "." || strings.HasPrefix(name, top+"/")
}

// closes adds to a batch what is needed no more.
func (m *memory) closes(b *sftp.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.closing {
		b.Close(f)
	}
	m.closing = nil
}

// letGo closes all that is open.
func (m *memory) letGo() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return
	}
	for _, f := range m.handles {
		m.closing = append(m.closing, f)
	}
	m.handles = map[string]*sftp.File{}
	if len(m.closing) == 0 {
		return
	}
	b := m.session.Batch()
	for _, f := range m.closing {
		b.Close(f)
	}
	m.closing = nil
	_ = b.Send() // it ends with the session
}
