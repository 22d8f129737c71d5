package hosts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"renewer/renewer"
)

// A directory is kept by one renewer (renewer.Mark). Its mark is a directory of
// that name, the room: DIR/.renewer/.owner/TOKEN. All that is written into the
// directory is made in the room and gets its name by a rename out of it, and what
// is removed goes through it as well. So the kernel compares the mark in the very
// call that changes something: who keeps the directory no longer has no room any
// more. The mark is made by renaming a directory that has a room over .owner, which
// fails where one is there; and it changes hands by renaming the room, which only one
// can do. Who did empties it before anything else, so that a rename out of it that had
// looked up the room before finds nothing to rename. A rename into it, for something to
// be removed, has no such thing: if its call is under way while the room changes hands,
// it may be done still. So what makes a revision none any more is a rename out of the
// room as well, of a link that is put into it (goneName): after that it can no longer
// be put back, even when that link is removed. That leaves the link of a name of an earlier layout, and
// that the mark is not compared where who may enter the copy of what was found changes.
const (
	ownerDir  = storeDir + "/.owner"
	whoLink   = "renewer" // in the room: since when, and the renewer's place and name
	roomTries = 3         // of several who come at the same time, one is first each time
)

// inRoom reports whether a name lies in a room, which has to be looked up again for
// each thing that is done.
func inRoom(name string) bool { return strings.HasPrefix(name, ownerDir+"/") }

// roomOf is the room of who has a mark.
func roomOf(m renewer.Mark) string { return path.Join(ownerDir, m.Token()) }

// keeper is the mark of the directory; nil for none. There is one room alone, so
// mostly it is enough to look for one's own.
func (pl *place) keeper() (*renewer.Mark, error) {
	if i, err := pl.dir.Lstat(roomOf(pl.me)); err == nil && i.Mode.IsDir() {
		m := pl.me
		return &m, nil
	} else if errors.Is(err, renewer.ErrUnreachable) {
		return nil, err
	}
	names, err := pl.dir.ReadDir(ownerDir)
	if err == nil && len(names) == 1 {
		if m, ok := renewer.ParseToken(names[0]); ok {
			return &m, nil
		}
	}
	info, there := pl.dir.Lstat(ownerDir) // SFTP says of what is no directory that there is none
	full, what := path.Join(pl.path, ownerDir), fmt.Sprintf("contains %q", names)
	switch {
	case errors.Is(there, fs.ErrNotExist):
		return nil, nil
	case there != nil:
		return nil, there
	case !info.Mode.IsDir():
		what = "is not a directory"
	case err != nil:
		return nil, err
	case len(names) == 0:
		return nil, nil
	}
	return nil, misconfigured(fmt.Errorf("%s %s, so renewer cannot tell which renewer owns the directory", full, what),
		"if no other renewer places certificates there, on the host: rm -r "+full)
}

// who adds to a mark what is not compared by the kernel.
func (pl *place) who(m renewer.Mark) renewer.Mark {
	text, err := pl.dir.Readlink(path.Join(ownerDir, m.Token(), whoLink))
	if parts := strings.SplitN(text, " ", 3); err == nil && len(parts) == 3 {
		m.Since, _ = time.Parse(time.RFC3339, parts[0]) // where it is none, it is not said
		m.Place, m.Name = parts[1], parts[2]
	}
	return m
}

// mine tells whether this renewer keeps the directory; a KeptError says who else
// does. Nothing is changed.
func (pl *place) mine() (renewer.Claim, *renewer.Mark, error) {
	found, err := pl.keeper()
	if err != nil {
		return renewer.ClaimRefused, nil, err
	}
	claim := pl.me.Claims(found)
	if claim != renewer.ClaimRefused {
		return claim, found, nil
	}
	who := pl.who(*found)
	if claim = pl.me.Claims(&who); claim == renewer.ClaimRefused {
		err = &renewer.KeptError{Host: pl.h.name, Dir: pl.path, Keeper: who, Me: pl.me}
	}
	return claim, &who, err
}

// claim makes sure that this renewer keeps the directory, before anything is
// written there.
func (pl *place) claim() error {
	if by, ok := pl.dir.(byName); ok {
		if err := by.Alone(storeDir, ownerDir, roomOf(pl.me), pl.base); err != nil {
			return err
		}
	}
	for try := 1; ; try++ {
		claim, found, err := pl.mine()
		switch {
		case err != nil:
			return err
		case claim == renewer.ClaimMine:
			pl.enter(*found)
			return nil
		}
		if err = pl.take(found, pl.me); err == nil {
			pl.enter(pl.me)
			return nil
		}
		if try == roomTries || errors.Is(err, renewer.ErrUnreachable) {
			return err
		}
	}
}

// byName is a Dir that finds what lies below it by its path each time. Alone refuses to
// work in directories there that another user than the Dir's may change.
type byName interface{ Alone(dirs ...string) error }

// enter notes which room is written in.
func (pl *place) enter(m renewer.Mark) {
	pl.room = roomOf(m)
	pl.h.mu.Lock()
	defer pl.h.mu.Unlock()
	pl.h.rooms[pl.path] = path.Join(pl.path, pl.room)
}

// take puts a mark in the place of the one that was found, nil for none. A link can
// have a text, whatever the owner of the directory, and exists as a whole or not at all.
func (pl *place) take(found *renewer.Mark, m renewer.Mark) error {
	room := roomOf(m)
	who := strings.Join([]string{time.Now().UTC().Format(time.RFC3339), cmp.Or(m.Place, "-"), m.Name}, " ")
	if found == nil {
		if err := pl.ensureDir(storeDir); err != nil {
			return err
		}
		temp := storeDir + "/" + tempMark + "owner-" + m.Incarnation
		temp, err := pl.free(temp)
		if err != nil {
			return err
		}
		made := path.Join(temp, m.Token())
		for _, dir := range []string{temp, made} {
			if err := pl.dir.Mkdir(dir); err != nil {
				return err
			}
			if err := pl.dir.Chmod(dir, storeMode); err != nil {
				return err
			}
		}
		if err := pl.dir.Link(who, path.Join(made, tempMark+whoLink), path.Join(made, whoLink)); err != nil {
			return err
		}
		err = pl.dir.Rename(temp, ownerDir)
		if i, there := pl.dir.Lstat(ownerDir); err != nil && there == nil && i.Mode.IsDir() && pl.dir.Remove(ownerDir) == nil {
			err = pl.dir.Rename(temp, ownerDir) // it was empty, and not every server renames over that
		}
		if err != nil {
			return errors.Join(err, RemoveAll(pl.dir, temp)) // somebody else came first
		}
		return nil
	}
	if found.Token() != m.Token() {
		if err := pl.dir.Rename(path.Join(ownerDir, found.Token()), room); err != nil {
			return err
		}
	}
	names, err := pl.dir.ReadDir(room)
	if err != nil {
		return err
	}
	for _, name := range names {
		full := path.Join(room, name)
		err := RemoveAll(pl.dir, full)
		if err != nil && (errors.Is(err, renewer.ErrUnreachable) || !strings.Contains(name, goneMark)) { // nothing is renamed out of what is gone
			return pl.leftover(full, err)
		}
	}
	return pl.dir.Link(who, path.Join(room, tempMark+whoLink), path.Join(room, whoLink))
}

// newName is what is being published next.
const newName = "new"

// goneMark is in the names of what is being removed.
const goneMark = "gone-"

// goneName is a link in a revision that is being removed, and makes it one that is not whole.
const goneName = ".gone"

// temp is a name in the room, of this placement's.
func (pl *place) temp(name string) string { return tempIn(pl.room, pl.base, name) }

func tempIn(room, base, name string) string {
	return path.Join(room, tempMark+short(base)+"-"+name)
}

// short stands for the certificate in names: its own may be as long as a name can be.
func short(base string) string {
	sum := sha256.Sum256([]byte(base))
	return hex.EncodeToString(sum[:hashLen/2])
}

// discard removes a revision, of files of likely names. It is renamed first: a crash
// must not leave half of it under its name.
func (pl *place) discard(r revision, likely ...string) error {
	name := path.Join(pl.base, r.String())
	temp, err := pl.free(pl.temp(goneMark + r.String()))
	if err != nil {
		return err
	}
	if err = pl.dir.Discard(name, temp, goneName, likely); err == nil {
		return nil
	}
	at := temp
	if _, missing := pl.dir.Lstat(temp); missing != nil {
		at = name
	}
	return pl.leftover(at, err)
}

// unlink removes a link of ours.
func (pl *place) unlink(name string) error {
	temp, err := pl.free(pl.temp(goneMark + name))
	if err != nil {
		return err
	}
	if err := pl.dir.Rename(name, temp); err != nil {
		return err
	}
	return pl.dir.Remove(temp)
}

// kept explains an error of something that was done in the room: it may be another
// renewer's by now.
func (h *Host) kept(ctx context.Context, p renewer.Placement, err error) error {
	if err == nil || errors.Is(err, renewer.ErrKept) || errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	_, found, kept := h.look(ctx, p.Dir)
	switch {
	case errors.Is(kept, renewer.ErrKept):
		return kept
	case errors.Is(err, fs.ErrExist) && renewer.Hint(err) == "" && found != nil:
		return renewer.WithHint(err, "another process is writing in "+p.Dir+" as "+found.String()+": stop the renewer that uses a copy of this state directory, then repeat the command")
	}
	return err
}

// look looks at the mark of a directory.
func (h *Host) look(ctx context.Context, name string) (renewer.Claim, *renewer.Mark, error) {
	dir, err := h.transport.OpenDir(ctx, name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return renewer.ClaimFree, nil, nil
	}
	if err != nil {
		return renewer.ClaimRefused, nil, err
	}
	defer func() { _ = dir.Close() }()
	pl := &place{h: h, dir: dir, path: name, me: h.me()}
	claim, found, err := pl.mine()
	if err == nil && found != nil {
		who := pl.who(*found)
		found = &who
	}
	return claim, found, err
}

// given are the rooms that have to be there for something to be done to a service:
// those that were written in last. A KeptError says that one is not this renewer's.
func (h *Host) given(ctx context.Context, dirs []string) (rooms []string, err error) {
	for _, dir := range dirs {
		h.mu.Lock()
		room := h.rooms[dir]
		h.mu.Unlock()
		if room == "" { // before this process
			_, found, err := h.look(ctx, dir)
			if err != nil {
				return nil, err
			}
			if found == nil {
				continue
			}
			room = path.Join(dir, ownerDir, found.Token())
		}
		rooms = append(rooms, room)
	}
	return rooms, nil
}

// allMine looks whether this renewer keeps all directories.
func (h *Host) allMine(ctx context.Context, dirs []string) error {
	for _, dir := range dirs {
		if _, _, err := h.look(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// Keeper looks which renewer keeps a placement's directory; nil for none. It
// changes nothing. A renewer.KeptError says that it is another one.
func (h *Host) Keeper(ctx context.Context, p renewer.Placement) (*renewer.Mark, error) {
	_, found, err := h.look(ctx, p.Dir)
	return found, err
}

// Keep marks a placement's directory as kept by this renewer, unless it is kept by
// another one, or is not there.
func (h *Host) Keep(ctx context.Context, p renewer.Placement) error {
	return h.doing("write the ownership mark in the directory of", p, h.take(ctx, p, func(pl *place) error { return pl.claim() }))
}

// TakeOver replaces the mark, and returns the earlier one, nil for none.
func (h *Host) TakeOver(ctx context.Context, p renewer.Placement) (was *renewer.Mark, err error) {
	err = h.take(ctx, p, func(pl *place) error {
		claim, found, err := pl.mine()
		switch {
		case err != nil && !errors.Is(err, renewer.ErrKept):
			return err
		case claim == renewer.ClaimMine:
			return nil
		case found != nil && found.Incarnation != pl.me.Incarnation:
			who := pl.who(*found)
			was = &who
		}
		return pl.take(found, pl.me.After(found))
	})
	return was, h.doing("take over the directory of", p, err)
}

func (h *Host) take(ctx context.Context, p renewer.Placement, do func(*place) error) error {
	pl, err := h.open(ctx, p, false, Ahead{Infos: []string{roomOf(h.me())}}) // mostly it is its own
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pl.close()
	return do(pl)
}
