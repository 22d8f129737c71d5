package remote

import (
	"path"
	"strings"
	"sync"

	"renewer/renewer/hosts"
)

// memory is what a Dir has seen since it was opened and not changed itself:
// each request costs a round trip, and placing asks for most things several
// times. A Dir lives for one call of a Host, so what others change meanwhile
// could have gone unseen without it too.
type memory struct {
	mu    sync.Mutex
	infos map[string]info
	lists map[string][]string
	links map[string]string
	data  map[string][]byte
	own   map[string]bool // directories made with mode 0700
}

// info is what SFTP tells of a name, itself and not what it leads to.
type info struct {
	hosts.Info
	size int64
}

// contentKept is the largest file whose content is kept.
const contentKept = 64 << 10

func newMemory() *memory {
	return &memory{infos: map[string]info{}, lists: map[string][]string{}, links: map[string]string{}, data: map[string][]byte{}, own: map[string]bool{}}
}

// remember returns what a map holds under a name, else what ask says.
func remember[T any](m *memory, in map[string]T, name string, ask func() (T, error)) (T, error) {
	m.mu.Lock()
	v, ok := in[name]
	m.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := ask()
	if err == nil {
		m.mu.Lock()
		in[name] = v
		m.mu.Unlock()
	}
	return v, err
}

// listed keeps what a listing tells of the names in a directory.
func (m *memory) listed(dir string, names map[string]info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, i := range names {
		m.infos[path.Join(dir, name)] = i
	}
}

// missing reports whether the listing of its directory lacks a name.
func (m *memory) missing(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, ok := m.lists[path.Dir(name)]
	if !ok || name == "." {
		return false
	}
	for _, have := range list {
		if have == path.Base(name) {
			return false
		}
	}
	return true
}

func (m *memory) made(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own[dir] = true
}

// private reports whether a name stands in a directory that was made for its
// owner alone.
func (m *memory) private(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own[path.Dir(name)]
}

// forget drops what a change of a name may have made untrue: of itself, of
// all below it, and the listing that it stands in.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lists, path.Dir(name))
	drop(m.infos, name)
	drop(m.lists, name)
	drop(m.links, name)
	drop(m.data, name)
	drop(m.own, name)
}

func drop[T any](from map[string]T, name string) {
	for have := range from {
		if have == name || name == "." || strings.HasPrefix(have, name+"/") {
			delete(from, have)
		}
	}
}
