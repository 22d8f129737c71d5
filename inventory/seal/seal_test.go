package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"renewer/internal/atomicfile"
	"renewer/internal/testpki"
	"renewer/inventory"
	"renewer/inventory/seal"
	"renewer/renewer"
)

type fixture struct {
	t     testing.TB
	dir   string
	store *inventory.Inventory
	opts  seal.Options
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir()}
	f.opts = seal.Options{IdentityFile: filepath.Join(f.dir, "seal.key"), Create: true, Former: filepath.Join(f.dir, "keys")}
	store, err := inventory.Open(filepath.Join(f.dir, "inventory.db"), inventory.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f.store = store
	return f
}

func (f *fixture) open() *seal.Keys {
	f.t.Helper()
	k, err := seal.Open(f.store, f.opts)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

// rolling records a rollout under way that delivers a generation.
func (f *fixture) rolling(name string, generation int) {
	f.t.Helper()
	rec := renewer.Record{Name: name, Latest: generation, Rollouts: 3, Rollout: &renewer.Rollout{
		ID: renewer.RolloutID(name, 3), Certificate: name, Phase: renewer.PhaseRolling, Generation: generation,
	}}
	if _, err := f.store.Commit(context.Background(), renewer.Change{Record: &rec}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) sealOne(k *seal.Keys, name string, generation int, pem []byte) []byte {
	f.t.Helper()
	s, err := k.Seal(name, generation, pem)
	if err != nil {
		f.t.Fatal(err)
	}
	return s.Sealed
}

func TestKeysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := testpki.KeyPEM(t, testpki.Key(t))
	sealed := f.sealOne(f.open(), "web", 3, want)
	f.opts.Create = false
	if got, ok, err := f.open().Open("web", 3, sealed); err != nil || !ok || !bytes.Equal(got, want) {
		t.Errorf("opened to %d bytes, %v, %v", len(got), ok, err)
	}
	if info, err := os.Stat(f.opts.IdentityFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestSealedForOneGenerationOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.open()
	sealed := f.sealOne(k, "web", 3, []byte("key"))
	if again := f.sealOne(k, "web", 3, []byte("key")); bytes.Equal(sealed, again) {
		t.Error("the same key was sealed to the same bytes twice")
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)/2] ^= 1
	for what, c := range map[string]struct {
		name       string
		generation int
		sealed     []byte
	}{
		"another certificate": {"web2", 3, sealed}, "another generation": {"web", 4, sealed},
		"damaged": {"web", 3, damaged}, "cut short": {"web", 3, sealed[:7]}, "empty": {"web", 3, nil},
	} {
		if pem, ok, err := k.Open(c.name, c.generation, c.sealed); ok || err != nil {
			t.Errorf("%s: %q, %v, %v", what, pem, ok, err)
		}
	}
}

// Every fault is misconfigured, names its file, has a hint, and shows nothing
// of the identity.
func TestFaults(t *testing.T) {
	t.Parallel()
	const secret = "AGE-SECRET-KEY-1QQQSECRETQQQ"
	for name, c := range map[string]struct {
		damage func(t *testing.T, identity string)
		want   string
	}{
		"identity missing": {func(t *testing.T, id string) { must(t, os.Remove(id)) }, "no such file"},
		"identity exposed": {func(t *testing.T, id string) { must(t, os.Chmod(id, 0o640)) }, "mode 0640"},
		"identity garbage": {func(t *testing.T, id string) { write(t, id, secret) }, "no usable age identity"},
		"identity empty":   {func(t *testing.T, id string) { write(t, id, "") }, "no usable age identity"},
		"another identity": {func(t *testing.T, id string) { write(t, id, newIdentity(t).String()) }, "an identity that is not in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.open()
			c.damage(t, f.opts.IdentityFile)
			f.opts.Create = false
			_, err := seal.Open(f.store, f.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), f.dir) {
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

// The identity is changed by putting a new one in front of the former; with the
// next start the former is not needed any more.
func TestIdentityIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sealed := f.sealOne(f.open(), "web", 1, []byte("key"))
	former, err := os.ReadFile(f.opts.IdentityFile)
	must(t, err)
	next := newIdentity(t).String()
	for _, text := range []string{next + "\n" + string(former), next} {
		write(t, f.opts.IdentityFile, text)
		if got, ok, err := f.open().Open("web", 1, sealed); !ok || err != nil || string(got) != "key" {
			t.Errorf("%q, %v, %v", got, ok, err)
		}
	}
}

// renewer's own identity file, removed, is made again; what was sealed before is
// lost, and nothing else.
func TestLostIdentityIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sealed := f.sealOne(f.open(), "web", 1, []byte("key"))
	must(t, os.Remove(f.opts.IdentityFile))
	k := f.open()
	if _, ok, err := k.Open("web", 1, sealed); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	sealed = f.sealOne(k, "web", 1, []byte("key"))
	if got, ok, _ := f.open().Open("web", 1, sealed); !ok || string(got) != "key" {
		t.Errorf("%q %v", got, ok)
	}
}

func TestExposedIdentityIsTyped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open()
	must(t, os.Chmod(f.opts.IdentityFile, 0o604))
	var exposed *atomicfile.ExposedError
	if _, err := seal.Open(f.store, f.opts); !errors.As(err, &exposed) {
		t.Errorf("got %v", err)
	}
}

// Keys of rollouts that an earlier version left in files are taken over where
// they are still needed, and the files go.
func TestKeysOfAnEarlierVersionAreTakenOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := newIdentity(t)
	write(t, f.opts.IdentityFile, id.String())
	must(t, os.Mkdir(f.opts.Former, 0o700))
	for rollout, generation := range map[string]int{"web@host-b#3": 7, "ordering#3": 0, "damaged#3": 2} {
		f.rolling(strings.TrimSuffix(rollout, "#3"), generation)
		former(t, id, f.opts.Former, rollout, "key of "+rollout)
	}
	former(t, id, f.opts.Former, "over#1", "key")
	write(t, filepath.Join(f.opts.Former, "damaged%233.age"), "nothing")
	write(t, filepath.Join(f.opts.Former, ".renewer-tmp-1"), "half")

	k := f.open()
	sealed, ok, err := f.store.Key("web@host-b", 7)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if pem, ok, err := k.Open("web@host-b", 7, sealed); !ok || err != nil || string(pem) != "key of web@host-b#3" {
		t.Errorf("%q, %v, %v", pem, ok, err)
	}
	if _, ok, err := f.store.Key("damaged", 2); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, err := os.Stat(f.opts.Former); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestKeyOfAnEarlierVersionWithAnotherIdentityStays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rolling("web", 1)
	must(t, os.Mkdir(f.opts.Former, 0o700))
	former(t, newIdentity(t), f.opts.Former, "web#3", "key")
	_, err := seal.Open(f.store, f.opts)
	if err == nil || !strings.Contains(err.Error(), "web%233.age") || renewer.Hint(err) == "" {
		t.Errorf("%v (%s)", err, renewer.Hint(err))
	}
	if _, err := os.Stat(filepath.Join(f.opts.Former, "web%233.age")); err != nil {
		t.Error(err)
	}
}

func TestSealedKeyIsNeverPrinted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, err := f.open().Seal("web", 1, []byte("key"))
	must(t, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "sealed", k.Sealed)
	text := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		text += fmt.Sprintf(verb+verb, k, k.Sealed)
	}
	for _, form := range []string{"%x", "%d", "%s", "%q"} {
		shown := strings.Trim(fmt.Sprintf(form, []byte(k.Sealed[:8])), `[]"`)
		if strings.Contains(text, shown) {
			t.Errorf("its bytes are printed as %s: %s", form, text)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	k := newFixture(b).open()
	key := testpki.KeyPEM(b, testpki.Key(b))
	for b.Loop() {
		if _, err := k.Seal("web", 1, key); err != nil {
			b.Fatal(err)
		}
	}
}

func former(t *testing.T, id *age.X25519Identity, dir, rollout, pem string) {
	t.Helper()
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	must(t, err)
	_, err = w.Write([]byte(pem))
	must(t, errors.Join(err, w.Close()))
	write(t, filepath.Join(dir, strings.ReplaceAll(rollout, "#", "%23")+".age"), sealed.String())
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return id
}

func write(t *testing.T, path, content string) {
	t.Helper()
	testpki.WriteFile(t, path, []byte(content), 0o600)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
