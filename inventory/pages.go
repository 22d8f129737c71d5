package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// The layout of bbolt's other pages (internal/common/page.go of bbolt): a header
// of number (64 bits), flags, count (16 bits each) and how many pages follow it
// as one with it (32 bits). Elements of a branch are offset, key size (32 bits
// each) and page, those of a leaf flags, offset, key size and value size (32 bits
// each), each offset counted from its own element. The value of a bucket begins
// with the number of its first page; 0: it lies in the value.
const (
	elementSize  = 16
	pageBranch   = 1
	pageLeaf     = 2
	pageFreelist = 16
	flagBucket   = 1
	manyFree     = 0xffff // the count stands in front of the list
)

// pages reads the pages of a file without bbolt, which follows the numbers of
// damaged ones beyond the file, where only the process ends, or in a circle,
// until its stack is full.
type pages struct {
	file *os.File
	meta metaPage
	seen []bool // of each page: something leads to it
	deep bool   // every page is read, and what its elements say of themselves
}

type page struct {
	flags, count uint16
	b            []byte // whole, with its header
}

func newestPages(f *os.File) (*pages, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, _, _, found := metaPages(f)
	if !found || m.highWater > uint64(info.Size())/max(m.pageSize, 1) {
		return nil, errors.New("its meta pages are damaged")
	}
	return &pages{file: f, meta: m, seen: make([]bool, m.highWater)}, nil
}

// checkPages is check as an error that says what to do.
func checkPages(path string, f *os.File, deep bool) error {
	p, err := newestPages(f)
	if err == nil {
		p.deep = deep
		err = p.check()
	}
	if err != nil {
		return damaged(path, "is damaged: %v", err)
	}
	return nil
}

// header returns a page without what follows its header.
func (p *pages) header(id uint64) (out page, length uint64, err error) {
	var b [pageHeader]byte
	if _, err := p.file.ReadAt(b[:], int64(id*p.meta.pageSize)); err != nil {
		return page{}, 0, err
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(b[12:]))
	if order.Uint64(b[:]) != id || id+overflow >= p.meta.highWater {
		return page{}, 0, fmt.Errorf("page %d is damaged", id)
	}
	return page{flags: order.Uint16(b[8:]), count: order.Uint16(b[10:])}, (overflow + 1) * p.meta.pageSize, nil
}

func (p *pages) read(id uint64) (page, error) {
	out, length, err := p.header(id)
	if err != nil {
		return page{}, err
	}
	out.b = make([]byte, length)
	_, err = p.file.ReadAt(out.b, int64(id*p.meta.pageSize))
	return out, err
}

// free returns the numbers of the pages that nothing leads to.
func (p *pages) free() ([]uint64, error) {
	if p.meta.freelist == noFreelist {
		return nil, nil
	}
	list, err := p.read(p.meta.freelist)
	if err != nil {
		return nil, err
	}
	b, n := list.b[pageHeader:], uint64(list.count)
	if n == manyFree {
		n, b = binary.NativeEndian.Uint64(b), b[8:]
	}
	if list.flags != pageFreelist || n > uint64(len(b))/8 {
		return nil, errors.New("its list of free pages is damaged")
	}
	ids := make([]uint64, n)
	for i := range ids {
		if ids[i] = binary.NativeEndian.Uint64(b[8*i:]); ids[i] < 2 || ids[i] >= p.meta.highWater {
			return nil, fmt.Errorf("its list of free pages has page %d", ids[i])
		}
	}
	return ids, nil
}

// check follows every page number, those in the list of free pages too: each leads
// into the file, and no two to the same page. Leaves, which most pages are, are
// read only if it is deep.
func (p *pages) check() error {
	free, err := p.free()
	if err != nil {
		return err
	}
	if p.meta.freelist != noFreelist {
		free = append(free, p.meta.freelist)
	}
	for _, id := range free {
		if err := p.lead(id); err != nil {
			return err
		}
	}
	return p.tree(p.meta.root, func(leaf page) error {
		for n := range int(leaf.count) {
			root, err := leaf.bucket(n)
			if err == nil && root != 0 {
				err = p.tree(root, nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *pages) lead(id uint64) error {
	if id < 2 || id >= p.meta.highWater {
		return fmt.Errorf("a page refers to page %d of %d", id, p.meta.highWater)
	}
	if p.seen[id] {
		return fmt.Errorf("page %d is referred to more than once", id)
	}
	p.seen[id] = true
	return nil
}

// tree follows the branches below a page; leaves are all at one depth. They are
// read for fn alone.
func (p *pages) tree(id uint64, fn func(leaf page) error) error {
	if err := p.lead(id); err != nil {
		return err
	}
	at, _, err := p.header(id)
	switch {
	case err != nil:
		return err
	case at.flags == pageLeaf && fn == nil && !p.deep:
		return nil
	case at.flags != pageLeaf && at.flags != pageBranch:
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
	if at, err = p.read(id); err == nil {
		err = at.bounds()
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if at.flags == pageLeaf {
		if fn == nil {
			return nil
		}
		return fn(at)
	}
	leaves := false
	for n := range int(at.count) {
		child := at.child(n)
		if leaves {
			err = p.lead(child)
		} else {
			err = p.tree(child, fn)
		}
		if err != nil {
			return err
		}
		if n == 0 && fn == nil && !p.deep {
			first, _, err := p.header(child)
			if leaves = first.flags == pageLeaf; err != nil {
				return err
			}
		}
	}
	return nil
}

// bounds is an error if an element lies outside of its page.
func (p page) bounds() error {
	order, size := binary.NativeEndian, uint64(len(p.b))
	for n := range uint64(p.count) {
		at := pageHeader + n*elementSize
		if at+elementSize > size {
			return errors.New("it has more elements than fit")
		}
		e := p.b[at:]
		ends := at + uint64(order.Uint32(e)) + uint64(order.Uint32(e[4:]))
		if p.flags == pageLeaf {
			ends = at + uint64(order.Uint32(e[4:])) + uint64(order.Uint32(e[8:])) + uint64(order.Uint32(e[12:]))
		}
		if ends > size {
			return fmt.Errorf("its element %d is outside of the page", n)
		}
	}
	return nil
}

func (p page) element(n int) []byte { return p.b[pageHeader+n*elementSize:] }

func (p page) child(n int) uint64 { return binary.NativeEndian.Uint64(p.element(n)[8:]) }

// bucket returns the first page of the bucket that an element is; 0 if it has
// none, or is none.
func (p page) bucket(n int) (uint64, error) {
	e, order := p.element(n), binary.NativeEndian
	if order.Uint32(e)&flagBucket == 0 {
		return 0, nil
	}
	if order.Uint32(e[12:]) < 8 {
		return 0, errors.New("a bucket has no first page")
	}
	return order.Uint64(e[order.Uint32(e[4:])+order.Uint32(e[8:]):]), nil
}
