package sftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openssh is a session with OpenSSH's server.
func openssh(t *testing.T) *Client {
	t.Helper()
	const server = "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(server); err != nil {
		t.Skipf("OpenSSH's SFTP server is not installed: %v", err)
	}
	cmd := exec.Command(server, "-u", "022")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c, err := New(out, in, nil)
	must(t, err)
	t.Cleanup(func() { _ = c.Close(); _ = cmd.Wait() })
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAgainstOpenSSH(t *testing.T) {
	t.Parallel()
	c, ctx, dir := openssh(t), t.Context(), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	_, err := One(ctx, c, func(b *Batch) Reply[None] { return b.Mkdir(in("d"), 0o700) })
	must(t, err)
	lstat := func(name string) Info {
		i, err := One(ctx, c, func(b *Batch) Reply[Info] { return b.Lstat(in(name)) })
		must(t, err)
		return i
	}
	if i := lstat("d"); i.Mode != fs.ModeDir|0o700 || int(i.UID) != os.Geteuid() {
		t.Errorf("made %+v", i)
	}
	big := bytes.Repeat([]byte("0123456789"), 20_000)
	files := []NewFile{
		{Name: in("d/a"), UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o440, Data: []byte("one")},
		{Name: in("d/b"), UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o400, Data: big},
		{Name: in("d/empty"), UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600},
	}
	must(t, c.Create(ctx, files, true))
	var path *fs.PathError
	if err := c.Create(ctx, files, true); !errors.As(err, &path) || path.Path != files[0].Name {
		t.Errorf("created twice: %v", err)
	}
	whole := func(files []NewFile) {
		t.Helper()
		for _, f := range files {
			info, data, err := c.ReadAll(ctx, f.Name, 1<<20)
			must(t, err)
			if info.Mode != f.Mode || !bytes.Equal(data, f.Data) {
				t.Errorf("%s: %v, %d bytes", f.Name, info, len(data))
			}
		}
	}
	whole(files)
	parent, err := One(ctx, c, func(b *Batch) Reply[*File] { return b.Open(in("d")+"/.", Read) })
	must(t, err)
	b := c.Batch()
	done := []Reply[None]{b.Symlink("a", in("d/temp")), b.Rename(in("d/temp"), in("d/link")), b.Sync(parent)}
	target, real := b.ReadLink(in("d/link")), b.RealPath(in("d/link"))
	must(t, b.Send())
	must(t, All(ctx, done...))
	if got, err := target.Get(ctx); err != nil || got != "a" {
		t.Errorf("link to %q, error %v", got, err)
	}
	if got, err := real.Get(ctx); err != nil || got != in("d/a") {
		t.Errorf("really %q, error %v", got, err)
	}
	_, err = One(ctx, c, func(b *Batch) Reply[None] { return b.Rename(in("d/link"), in("d/empty")) })
	must(t, err)
	list, err := c.ReadDir(ctx, in("d"))
	must(t, err)
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b", "empty"}) {
		t.Errorf("listed %v", names)
	}
	if i := lstat("d/empty"); i.Mode&fs.ModeSymlink == 0 {
		t.Errorf("lstat of a link: %v", i.Mode)
	}
	if _, err := One(ctx, c, func(b *Batch) Reply[Info] { return b.Stat(in("none")) }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of nothing: %v", err)
	}
	room, err := One(ctx, c, func(b *Batch) Reply[Room] { return b.Room(dir) })
	must(t, err)
	if room.Free == 0 {
		t.Errorf("room %+v", room)
	}
	b = c.Batch()
	gone, kept := b.Remove(in("d/empty")), b.Rmdir(in("d"))
	must(t, b.Send())
	must(t, All(ctx, gone))
	if _, err := kept.Get(ctx); err == nil {
		t.Error("removed a directory that holds something")
	}
	for n := range files {
		files[n].Name = in("temp/" + filepath.Base(files[n].Name))
	}
	r := Revision{Temp: in("temp"), Name: in("whole"), Mode: 0o755, Files: files, Sync: true, Parent: parent}
	b = c.Batch()
	left := b.Begin(in("left"), []string{in("left/x")})
	must(t, b.Send())
	must(t, c.Abandon(ctx, left))
	if _, err := os.Lstat(in("left")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was abandoned: %v", err)
	}
	must(t, c.Publish(ctx, r, nil))
	for n := range files {
		files[n].Name = in("whole/" + filepath.Base(files[n].Name))
	}
	whole(files)
	if i := lstat("whole"); i.Mode != fs.ModeDir|0o755 {
		t.Errorf("mode of what was published: %v", i.Mode)
	}
	for n := range 250 { // more than one answer holds
		must(t, os.WriteFile(in(fmt.Sprint("n", n)), nil, 0o600))
	}
	list, err = c.ReadDir(ctx, dir)
	must(t, err)
	if len(list) != 252 {
		t.Errorf("listed %d", len(list))
	}
}

// What is asked with the greeting is answered as everything is.
func TestAskedWithTheGreeting(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	go func() {
		_, _, _ = readPacket(far)
		kind, body, _ := readPacket(far)
		if kind == typeLstat {
			_, _ = far.Write([]byte{0, 0, 0, 5, typeVersion, 0, 0, 0, 3})
			_, _ = far.Write(packet(typeAttrs, binary.BigEndian.Uint32(body), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7))
		}
	}()
	var first Reply[Info]
	c, err := New(near, near, func(b *Batch) { first = b.Lstat("x") })
	must(t, err)
	i, err := first.Get(t.Context())
	must(t, err)
	if i.Size != 7 {
		t.Errorf("got %+v", i)
	}
	must(t, c.Close())
}

// serve answers requests as configured; nil ends the session.
func serve(t *testing.T, answer func(kind byte, id uint32) []byte) *Client {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		if _, _, err := readPacket(far); err != nil {
			return
		}
		_, _ = far.Write([]byte{0, 0, 0, 5, typeVersion, 0, 0, 0, 3})
		for {
			kind, body, err := readPacket(far)
			if err != nil || len(body) < 4 {
				return
			}
			out := answer(kind, binary.BigEndian.Uint32(body))
			if out == nil {
				return
			}
			if _, err := far.Write(out); err != nil {
				return
			}
		}
	}()
	c, err := New(near, near, nil)
	must(t, err)
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c
}

func packet(kind byte, id uint32, body ...byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)+5))
	return append(binary.BigEndian.AppendUint32(append(out, kind), id), body...)
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }

// A server that goes on, or that lies, ends with a clear error and within the
// bounds.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	handle := func(id uint32) []byte { return packet(typeHandle, id, text("h")...) }
	names := func(id uint32, list ...string) []byte {
		body := binary.BigEndian.AppendUint32(nil, uint32(len(list)))
		for _, n := range list {
			body = append(append(append(body, text(n)...), text("")...), 0, 0, 0, 0)
		}
		return packet(typeName, id, body...)
	}
	many := make([]string, 600)
	for n := range many {
		many[n] = strings.Repeat("x", 200) + fmt.Sprint(n)
	}
	list := func(readdir func(id uint32) []byte) func(byte, uint32) []byte {
		return func(kind byte, id uint32) []byte {
			if kind == typeReaddir {
				return readdir(id)
			}
			return handle(id)
		}
	}
	listing := func(c *Client) error { _, err := c.ReadDir(t.Context(), "/"); return err }
	stat := func(c *Client) error {
		_, err := One(t.Context(), c, func(b *Batch) Reply[Info] { return b.Lstat("/") })
		return err
	}
	for name, c := range map[string]struct {
		answer func(byte, uint32) []byte
		ask    func(*Client) error
		want   error
	}{
		"a listing without end":          {list(func(id uint32) []byte { return names(id, many...) }), listing, ErrTooMany},
		"a listing of nothing":           {list(func(id uint32) []byte { return names(id) }), listing, ErrProtocol},
		"a name with a slash":            {list(func(id uint32) []byte { return names(id, "../x") }), listing, ErrProtocol},
		"more names than it holds":       {list(func(id uint32) []byte { return packet(typeName, id, 0, 0, 1, 0) }), listing, ErrProtocol},
		"countless names":                {list(func(id uint32) []byte { return packet(typeName, id, 255, 255, 255, 255) }), listing, ErrTooMany},
		"another number":                 {func(_ byte, id uint32) []byte { return packet(typeAttrs, id+1, 0, 0, 0, 0) }, stat, ErrProtocol},
		"another kind":                   {func(_ byte, id uint32) []byte { return handle(id) }, stat, ErrProtocol},
		"truncated attributes":           {func(_ byte, id uint32) []byte { return packet(typeAttrs, id, 0, 0, 0, 1) }, stat, ErrProtocol},
		"a status cut short":             {func(_ byte, id uint32) []byte { return packet(typeStatus, id, 0) }, stat, ErrProtocol},
		"no number":                      {func(byte, uint32) []byte { return []byte{0, 0, 0, 1, typeStatus} }, stat, ErrProtocol},
		"a packet without end":           {func(byte, uint32) []byte { return []byte{255, 255, 255, 255, typeAttrs} }, stat, ErrProtocol},
		"all is healthy where it is not": {func(_ byte, id uint32) []byte { return packet(typeStatus, id, 0, 0, 0, 0) }, stat, ErrProtocol},
		"the end":                        {func(byte, uint32) []byte { return nil }, stat, ErrEnded},
		"extended without end": {func(_ byte, id uint32) []byte {
			return packet(typeAttrs, id, 0x80, 0, 0, 0, 255, 255, 255, 255)
		}, stat, ErrProtocol},
		"more data than asked for": {func(kind byte, id uint32) []byte {
			switch kind {
			case typeFstat:
				return packet(typeAttrs, id, 0, 0, 0, 4, 0, 0, 0x81, 0xa4)
			case typeRead:
				return packet(typeData, id, text(strings.Repeat("x", 20))...)
			}
			return handle(id)
		}, func(c *Client) error {
			_, _, err := c.ReadAll(t.Context(), "f", 10)
			return err
		}, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := serve(t, c.answer)
			if err := c.ask(cl); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// Who gives up waiting gets the reason, and the others go on.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	c := serve(t, func(kind byte, id uint32) []byte {
		if kind == typeLstat {
			return []byte{}
		}
		return packet(typeStatus, id, 0, 0, 0, 0)
	})
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, io.ErrNoProgress)
	defer cancel()
	if _, err := One(ctx, c, func(b *Batch) Reply[Info] { return b.Lstat("/") }); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
	_, err := One(t.Context(), c, func(b *Batch) Reply[None] { return b.Remove("/x") })
	must(t, err)
}

func FuzzAnswers(f *testing.F) {
	f.Add(byte(typeName), []byte{0, 0, 0, 1, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(byte(typeAttrs), []byte{0x80, 0, 0, 0x0f, 0, 0, 0, 1})
	f.Add(byte(typeStatus), []byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		n := 0
		c := serve(t, func(_ byte, id uint32) []byte {
			if n++; n > 100 {
				return nil
			}
			return packet(kind, id, body...)
		})
		ctx := t.Context()
		_, _ = One(ctx, c, func(b *Batch) Reply[Info] { return b.Lstat("x") })
		_, _ = One(ctx, c, func(b *Batch) Reply[string] { return b.RealPath("x") })
		_, _ = c.ReadDir(ctx, "x")
		_, _, _ = c.ReadAll(ctx, "x", 100)
		_ = c.Create(ctx, []NewFile{{Name: "x", Data: []byte("x")}}, true)
		_ = c.Publish(ctx, Revision{Temp: "d", Name: "e", Mode: 0o755, Files: []NewFile{{Name: "d/x", Data: []byte("x")}}, Sync: true}, nil)
	})
}
