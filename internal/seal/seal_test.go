package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/internal/atomicfile"
	"renewer/internal/seal"
	"renewer/internal/testpki"
	"renewer/renewer"
)

func open(t testing.TB) (k *seal.Keys, dir, identity string) {
	t.Helper()
	state := t.TempDir()
	dir, identity = filepath.Join(state, "keys"), filepath.Join(state, "seal.key")
	k, err := seal.Open(dir, identity, true)
	if err != nil {
		t.Fatal(err)
	}
	return k, dir, identity
}

func TestKeysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	k, dir, identity := open(t)
	want := testpki.KeyPEM(t, testpki.Key(t))
	if err := k.Save("docker@host-b#3", want); err != nil {
		t.Fatal(err)
	}

	again, err := seal.Open(dir, identity, false)
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := again.Load("docker@host-b#3")
	if err != nil || !ok || !bytes.Equal(got, want) {
		t.Errorf("load: %d bytes, %v, %v", len(got), ok, err)
	}
	if list, err := again.List(); err != nil || !slices.Equal(list, []string{"docker@host-b#3"}) {
		t.Errorf("list: %v, %v", list, err)
	}
	for range 2 {
		if err := again.Remove("docker@host-b#3"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if _, ok, err := again.Load("docker@host-b#3"); ok || err != nil {
		t.Errorf("after remove: %v, %v", ok, err)
	}
	if list, err := again.List(); err != nil || len(list) != 0 {
		t.Errorf("after remove: %v, %v", list, err)
	}
}

func TestOnDisk(t *testing.T) {
	t.Parallel()
	k, dir, identity := open(t)
	key := testpki.KeyPEM(t, testpki.Key(t))
	if err := k.Save("docker@host-b#3", key); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "docker@host-b%233.age")
	for path, mode := range map[string]fs.FileMode{dir: 0o700, identity: 0o600, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %04o", path, info, err, mode)
		}
	}
	sealed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("PRIVATE KEY")) || !bytes.HasPrefix(sealed, []byte("age-encryption.org/v1\n-> X25519 ")) {
		t.Errorf("not sealed: %.60q", sealed)
	}
}

func TestEveryNameIsOneFileInTheDirectory(t *testing.T) {
	t.Parallel()
	k, dir, _ := open(t)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.OneOf(
			rapid.StringN(1, 12, 60), rapid.SampledFrom([]string{".", "..", "../seal.key", "/etc/x", "a/b", "a%2Fb", "a b", "-", "x.age"}),
		), 1, 4, rapid.ID).Draw(t, "names")
		for _, name := range names {
			if err := k.Save(name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := k.List()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		slices.Sort(got)
		if diff := cmp.Diff(names, got); diff != "" {
			t.Fatal(diff)
		}
		for _, name := range names {
			pem, ok, err := k.Load(name)
			if err != nil || !ok || string(pem) != name {
				t.Fatalf("%q: %q, %v, %v", name, pem, ok, err)
			}
			if err := k.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Fatalf("left over: %v", left)
		}
	})
	for _, name := range []string{"", strings.Repeat("x", 252)} {
		if err := k.Save(name, nil); err == nil {
			t.Errorf("a name of %d bytes was accepted", len(name))
		}
	}
}

func TestListLeavesOutWhatIsNotAKey(t *testing.T) {
	t.Parallel()
	k, dir, _ := open(t)
	for _, name := range []string{"README", ".age", "%zz.age", "%61.age"} {
		testpki.WriteFile(t, filepath.Join(dir, name), nil, 0o600)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub.age"), 0o700); err != nil {
		t.Fatal(err)
	}
	if list, err := k.List(); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestOpenRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	_, dir, identity := open(t)
	testpki.WriteFile(t, filepath.Join(dir, ".renewer-tmp-1"), []byte("half"), 0o600)
	if _, err := seal.Open(dir, identity, false); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestOneIdentityFromManyOpens(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	dir, identity := filepath.Join(state, "keys"), filepath.Join(state, "seal.key")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			k, err := seal.Open(dir, identity, true)
			if err == nil {
				err = k.Save(fmt.Sprint(i), []byte("key"))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k, err := seal.Open(dir, identity, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if _, ok, err := k.Load(fmt.Sprint(i)); !ok || err != nil {
			t.Errorf("key %d: %v, %v", i, ok, err)
		}
	}
}

// Every fault is misconfigured, names its file, has a way out, and shows
// nothing of the identity or a key.
func TestFaults(t *testing.T) {
	t.Parallel()
	const secret = "AGE-SECRET-KEY-1QQQSECRETQQQ"
	cases := map[string]struct {
		damage func(t *testing.T, dir, identity string)
		want   string
	}{
		"identity missing":        {func(t *testing.T, _, id string) { remove(t, id) }, "no such file"},
		"identity exposed":        {func(t *testing.T, _, id string) { chmod(t, id, 0o640) }, "mode 0640"},
		"identity garbage":        {func(t *testing.T, _, id string) { write(t, id, secret) }, "no usable age identity"},
		"identity empty":          {func(t *testing.T, _, id string) { write(t, id, "") }, "no usable age identity"},
		"directory exposed":       {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o755) }, "mode 0755"},
		"sealed with another one": {func(t *testing.T, dir, id string) { remove(t, id); reopen(t, dir, id) }, "another identity"},
		"key truncated":           {func(t *testing.T, dir, _ string) { truncate(t, filepath.Join(dir, "a%231.age")) }, "damaged"},
		"key is garbage":          {func(t *testing.T, dir, _ string) { write(t, filepath.Join(dir, "a%231.age"), secret) }, "damaged"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, dir, identity := open(t)
			if err := k.Save("a#1", []byte(secret)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir, identity)
			k, err := seal.Open(dir, identity, false)
			if err == nil {
				_, _, err = k.Load("a#1")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Dir(dir)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" {
				t.Errorf("class %s, hint %q", renewer.ClassOf(err), renewer.Hint(err))
			}
			if all := fmt.Sprintf("%+v %s", err, renewer.Hint(err)); strings.Contains(all, "QQQ") {
				t.Errorf("shows a secret: %s", all)
			}
		})
	}
}

func TestFormerIdentityStillOpens(t *testing.T) {
	t.Parallel()
	k, dir, identity := open(t)
	if err := k.Save("a#1", []byte("key")); err != nil {
		t.Fatal(err)
	}
	former, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, identity)
	reopen(t, dir, identity)
	current, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	write(t, identity, string(current)+string(former))
	if got, ok, err := reopen(t, dir, identity).Load("a#1"); !ok || err != nil || string(got) != "key" {
		t.Errorf("%q, %v, %v", got, ok, err)
	}
}

func TestExposedIdentityIsTyped(t *testing.T) {
	t.Parallel()
	_, dir, identity := open(t)
	chmod(t, identity, 0o604)
	var exposed *atomicfile.ExposedError
	if _, err := seal.Open(dir, identity, true); !errors.As(err, &exposed) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkSave(b *testing.B) {
	k, _, _ := open(b)
	key := testpki.KeyPEM(b, testpki.Key(b))
	for b.Loop() {
		if err := k.Save("a#1", key); err != nil {
			b.Fatal(err)
		}
	}
}

func reopen(t *testing.T, dir, identity string) *seal.Keys {
	t.Helper()
	k, err := seal.Open(dir, identity, true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t *testing.T, path, content string) {
	t.Helper()
	testpki.WriteFile(t, path, []byte(content), 0o600)
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-1)
	}
	if err != nil {
		t.Fatal(err)
	}
}
