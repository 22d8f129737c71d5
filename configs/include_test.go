package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// broken is a file system in which one path cannot be opened.
type broken struct {
	fs.FS
	path string
	err  error
}

func (b broken) Open(name string) (fs.File, error) {
	if name == b.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.err}
	}
	return b.FS.Open(name)
}

func (b broken) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == b.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.err}
	}
	return fs.ReadDir(b.FS, name)
}

func (b broken) Stat(name string) (fs.FileInfo, error) { return fs.Stat(b.FS, name) }

// A link that leads nowhere is there, whatever it stands for.
func TestLinksThatLeadNowhereAreFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pattern, link, want string }{
		{"fleet.d/*.yaml", "fleet.d/web.yaml", `"DIR/fleet.d/web.yaml" cannot be read: no such file or directory`},
		{"fleet.d/*/certificates.yaml", "fleet.d/b", `include "fleet.d/*/certificates.yaml": "DIR/fleet.d/b" cannot be read: no such file or directory`},
		{"fleet.d/*/certificates.yaml", "fleet.d/a/certificates.yaml", `"DIR/fleet.d/a/certificates.yaml" cannot be read: no such file or directory`},
		{"mounted/*.yaml", "mounted", `include "mounted/*.yaml": "DIR/mounted" cannot be read: no such file or directory`},
		{"mounted/sub/*.yaml", "mounted", `include "mounted/sub/*.yaml": "DIR/mounted/sub" cannot be read: no such file or directory`},
		{"none/sub/*.yaml", "else", ""},
		{"fleet.d/*/none.yaml", "else", ""},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "renewer.yaml")
		for _, err := range []error{
			os.MkdirAll(filepath.Join(dir, "fleet.d", "a"), 0o700),
			os.WriteFile(filepath.Join(dir, "fleet.d", "README"), nil, 0o600),
			os.Symlink("nowhere", filepath.Join(dir, c.link)),
			os.WriteFile(file, []byte("include: ["+c.pattern+"]\nstate_dir: /s\n"), 0o600),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := Load(file)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(c.want, "DIR", dir))) {
			t.Errorf("%s with %s: %v", c.pattern, c.link, err)
		}
	}
}

// What cannot be read is never taken for what is not there: its certificates
// would be let go of.
func TestWhatCannotBeReadIsAFault(t *testing.T) {
	t.Parallel()
	const file = "include: [fleet.d/*.yaml]\nstate_dir: /s\ncertificates:\n  - {name: a, issuer: ca, profile: files, hosts: [h], dir: /d}\n"
	disk := fstest.MapFS{
		"fleet.d/hosts.yaml":   {Data: []byte("hosts: {h: {}}\n")},
		"fleet.d/issuers.yaml": {Data: []byte("issuers: {ca: {type: local}}\n")},
	}
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"fleet.d", fs.ErrPermission, `f.yaml:1:11: include "fleet.d/*.yaml": "fleet.d" cannot be read: permission denied; expected a directory that renewer may read`},
		{"fleet.d/hosts.yaml", fs.ErrPermission, `f.yaml:1:11: "fleet.d/hosts.yaml" cannot be read: permission denied; expected a file that renewer may read`},
		{"fleet.d/hosts.yaml", fs.ErrNotExist, `f.yaml:1:11: "fleet.d/hosts.yaml" cannot be read: file does not exist; expected an existing file, or a pattern such as *.yaml, which may match none`},
	} {
		fleet, err := parse(&loader{file: "f.yaml", disk: broken{disk, c.path, c.err}, getenv: unset}, []byte(file))
		if c.want == "" && (err != nil || len(fleet.Certificates) != 1) || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v\n got %v\nwant %s", c.path, c.err, err, c.want)
		}
		if c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v is not %v", c.path, err, c.err)
		}
	}
}

func TestIncludeIsLookedUpFromTheFileAndAtEachLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a[b]*") // no pattern of its own
	elsewhere := filepath.Join(t.TempDir(), "hosts.yaml")
	file := writeFile(t, filepath.Join(dir, "renewer.yaml"), "include: [fleet.d/*.yaml, fleet.d/*/*.yaml, "+elsewhere+"]\nstate_dir: /s\n")
	writeFile(t, elsewhere, "hosts: {far: {}}\n")
	hosts := func() string {
		f, err := Load(file)
		if err != nil {
			return err.Error()
		}
		return strings.Join(f.HostNames(), " ")
	}
	if got := hosts(); got != "far" {
		t.Errorf("at first: %s", got)
	}
	writeFile(t, filepath.Join(dir, "fleet.d", "b.yaml"), "hosts: {b: {}}\n")
	writeFile(t, filepath.Join(dir, "fleet.d", "a.yaml"), "hosts: {a: {}}\n")
	writeFile(t, filepath.Join(dir, "fleet.d", "more", "c.yaml"), "hosts: {c: {}}\n")
	writeFile(t, filepath.Join(dir, "fleet.d", "other", "c.txt"), "hosts: {no: {}}\n")
	if got := hosts(); got != "a b c far" {
		t.Errorf("with new files: %s", got)
	}
	writeFile(t, filepath.Join(dir, "fleet.d", "b.yaml"), "hosts: {b: [}\n")
	if got, want := hosts(), filepath.Join(dir, "fleet.d", "b.yaml")+":1:1: not YAML: "; !strings.HasPrefix(got, want) {
		t.Errorf("with a fault: %s, want %s", got, want)
	}
}

// What one text stands for does not grow: aliases are refused before anything
// follows them, and groups do not multiply what they hold.
func TestIncludedFilesCannotGrow(t *testing.T) {
	t.Parallel()
	bomb := readFixture(t, "testdata/bad/bomb.yaml")
	disk := fstest.MapFS{}
	for _, name := range []string{"d/a.yaml", "d/b.yaml", "d/c.yaml"} {
		disk[name] = &fstest.MapFile{Data: bomb}
	}
	_, err := parse(&loader{file: "f", disk: disk, getenv: unset}, []byte("include: [d/*]\nstate_dir: /s\n"))
	if err == nil || !strings.Contains(err.Error(), "d/c.yaml:3:8: alias *a is not allowed in a fleet file") {
		t.Errorf("aliases: %v", err)
	}
	var groups strings.Builder
	groups.WriteString("state_dir: /s\nhosts: {a: {}}\ngroups:\n  g0: [a]\n")
	for i := 1; i < 200; i++ {
		groups.WriteString("  " + fmt.Sprint("g", i) + ": [\"@" + fmt.Sprint("g", i-1) + "\", \"*\"]\n")
	}
	if f, err := Parse("f", []byte(groups.String())); err != nil || len(f.Hosts) != 1 {
		t.Errorf("groups of groups: %v", err)
	}
}

// What was read is compared with what is there now without reading it again: by
// the fleet file and what it includes.
func TestDigestAndStampAreOfAllFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "renewer.yaml"), "state_dir: /s\nhosts: {a: {}}\ninclude:\n  - fleet.d/*.yaml\n")
	var digests, stamps []string
	look := func(what string) {
		f, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := Digest(file)
		if err != nil || digest != f.Digest || slices.Contains(digests, digest) {
			t.Errorf("%s: digest %s, %v; of what was loaded %s; before %v", what, digest, err, f.Digest, digests)
		}
		if stamp := Stamp(file); slices.Contains(stamps, stamp) {
			t.Errorf("%s: the stamp %q was there before", what, stamp)
		}
		digests, stamps = append(digests, digest), append(stamps, Stamp(file))
	}
	look("alone")
	b := writeFile(t, filepath.Join(dir, "fleet.d", "b.yaml"), "hosts: {b: {}}\n")
	look("with a file")
	writeFile(t, b, "hosts: {b: {port: 2222}}\n")
	look("with a changed file")
	writeFile(t, filepath.Join(dir, "fleet.d", "c.yaml"), "hosts: {c: {}}\n")
	look("with another file")
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	look("without the first")
	if Stamp(filepath.Join(dir, "none")) != "" {
		t.Error("a file that is not there has a stamp")
	}
}
