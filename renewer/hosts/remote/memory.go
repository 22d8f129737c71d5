package remote

import (
	"context"
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

// memory is what a Dir has asked since it was opened and not changed itself:
// each request costs a round trip, and placing asks for most things several
// times, some of them ahead. A Dir lives for one call of a Host, so what others
// change meanwhile could have gone unseen without it too.
type memory struct {
	mu    sync.Mutex
	infos map[string]*answer[info]
	lists map[string]*answer[[]string]
	links map[string]*answer[string]
	data  map[string]*answer[content]

	handles map[string]*answer[*sftp.File] // directories that are open, to be synced
	age     int                            // counts changes
}

// info is what SFTP tells of a name, itself and not what it leads to.
type info struct {
	hosts.Info
	size int64
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
		infos: map[string]*answer[info]{}, lists: map[string]*answer[[]string]{}, links: map[string]*answer[string]{},
		data: map[string]*answer[content]{}, handles: map[string]*answer[*sftp.File]{},
	}
}

// remember returns what a map holds under a name, else has it asked for. That
// a name is missing is kept too; after another error who comes later asks again.
func remember[T any](d *dir, in map[string]*answer[T], name string, find func(ctx context.Context) (T, error)) *answer[T] {
	m := d.seen
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := in[name]; ok {
		return a
	}
	a := newAnswer[T]()
	in[name] = a
	d.f.calls.run(func() {
		value, err := ask(d, find)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.mu.Lock()
			if in[name] == a {
				delete(in, name)
			}
			m.mu.Unlock()
		}
		a.is(value, err)
	})
	return a
}

func (m *memory) changes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.age
}

// listed keeps what a listing tells of the names in a directory, if nothing was
// changed since it was asked for.
func (m *memory) listed(dir string, names map[string]info, age int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.age != age {
		return
	}
	for name, i := range names {
		m.infos[path.Join(dir, name)] = known(i, nil)
	}
}

// list is the listing of a directory, nil if it was not asked for.
func (m *memory) list(dir string) *answer[[]string] {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lists[dir]
}

// missing reports whether the listing of its directory lacks a name.
func (m *memory) missing(name string) bool {
	list := m.list(path.Dir(name))
	if list == nil || name == "." {
		return false
	}
	select {
	case <-list.come:
		return list.err == nil && !slices.Contains(list.value, path.Base(name))
	default:
		return false
	}
}

// is notes what a name is, if it is known from making it.
func (m *memory) is(name string, i info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.infos[name] = known(i, nil)
}

// forget drops what a change of a name may have made untrue: of itself, of
// all below it, and the listing that it stands in.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age++
	delete(m.lists, path.Dir(name))
	drop(m.infos, name)
	drop(m.lists, name)
	drop(m.links, name)
	drop(m.data, name)
	for have, a := range m.handles {
		if have == name || strings.HasPrefix(have, name+"/") {
			closeHandle(a)
			delete(m.handles, have)
		}
	}
}

// move keeps what is known of a name, and of all below it, under another name
// that it has got.
func (m *memory) move(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age++
	delete(m.lists, path.Dir(from))
	delete(m.lists, path.Dir(to))
	rename(m.infos, from, to)
	rename(m.lists, from, to)
	rename(m.links, from, to)
	rename(m.data, from, to)
	rename(m.handles, from, to)
}

// rename leaves out what is still being asked by the old name.
func rename[T any](in map[string]*answer[T], from, to string) {
	moved := map[string]*answer[T]{}
	for have, a := range in {
		rest, below := strings.CutPrefix(have, from)
		if !below || rest != "" && rest[0] != '/' {
			continue
		}
		select {
		case <-a.come:
			if a.err == nil {
				moved[to+rest] = a
			}
		default:
		}
	}
	drop(in, from)
	drop(in, to)
	maps.Copy(in, moved)
}

// letGo closes what is open.
func (m *memory) letGo() {
	m.mu.Lock()
	open := m.handles
	m.handles = map[string]*answer[*sftp.File]{}
	m.mu.Unlock()
	for _, a := range open {
		closeHandle(a)
	}
}

func closeHandle(a *answer[*sftp.File]) {
	select {
	case <-a.come:
		if a.value != nil {
			a.value.Forget()
		}
	default: // it goes with the session
	}
}

func drop[T any](from map[string]T, name string) {
	for have := range from {
		if have == name || name == "." || strings.HasPrefix(have, name+"/") {
			delete(from, have)
		}
	}
}
