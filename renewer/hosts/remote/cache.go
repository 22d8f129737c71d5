package remote

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// fileLimit bounds the files of ~/.ssh that are read.
const fileLimit = 16 << 20

// cache keeps what was made of files, which many hosts ask for, until they
// change.
type cache[T any] struct {
	mu    sync.Mutex
	files map[string]cached[T]
}

type cached[T any] struct {
	changed time.Time
	size    int64
	value   T
	err     error
}

// get returns what read makes of a file now. The error wraps fs.ErrNotExist
// if there is no such file.
func (c *cache[T]) get(path string, read func(path string) (T, error)) (T, error) {
	var none T
	info, err := os.Stat(path)
	if err != nil {
		return none, err
	}
	if info.Size() > fileLimit {
		return none, &fs.PathError{Op: "read", Path: path, Err: errTooLarge}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	have, ok := c.files[path]
	if ok && have.changed.Equal(info.ModTime()) && have.size == info.Size() {
		return have.value, have.err
	}
	have = cached[T]{changed: info.ModTime(), size: info.Size()}
	have.value, have.err = read(path)
	if c.files == nil {
		c.files = map[string]cached[T]{}
	}
	c.files[path] = have
	return have.value, have.err
}
