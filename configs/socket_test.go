package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"renewer/renewer"
)

func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSocketOfAgreesWithLoad(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/later/*.yaml", "examples/*.yaml"} {
		for _, file := range fixtures(t, pattern) {
			fleet, err := parse(loaderIn(file, nil, credentialsIn("/run/credentials/renewer")), readFixture(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if socket, err := SocketOf(file); err != nil || socket != fleet.Socket {
				t.Errorf("%s: %q, %v; want %q", file, socket, err, fleet.Socket)
			}
		}
	}
}

func TestSocketOfReadsStateDirAndAPIAlone(t *testing.T) {
	t.Parallel()
	const long = "\n# " + "0123456789abcdef0123456789abcdef"
	for _, c := range []struct{ name, text, want string }{
		{"default", "state_dir: /s\n", "/s/renewer.sock"},
		{"given", "state_dir: /s\napi: {socket: /run/r.sock}\n", "/run/r.sock"},
		{"as a block", "api:\n  # here\n\n  socket: /run/r.sock\nstate_dir: /s\n", "/run/r.sock"},
		{"without state_dir", "api: {socket: /run/r.sock}\n", "/run/r.sock"},
		{"no line break at the end", "state_dir: /s", "/s/renewer.sock"},
		{"quoted keys", "\"state_dir\": /s\n'api': {\"socket\": /r}\n", "/r"},
		{"line breaks of Windows", "state_dir: /s\r\napi:\r\n  socket: /r\r\n", "/r"},
		{"byte order mark", "\ufeffstate_dir: /s\n", "/s/renewer.sock"},
		{"document mark", "---\nstate_dir: /s\n", "/s/renewer.sock"},
		{"one flow mapping", "{state_dir: /s,\napi: {socket: /r}}\n", "/r"},
		{"a flow mapping over lines", "state_dir: /s\napi: {\nsocket: /r\n}\n", "/r"},
		{"a key of something else in column 1", "state_dir: /s\nissuers: {\napi: {type: local}}\n", "/s/renewer.sock"},
		{"escaped key", "\"state_d\\x69r\": /s\n", "/s/renewer.sock"},
		{"unknown keys", "state_dir: /s\napi: {socket: /r, sokcet: 1}\nnonsense: 1\n", "/r"},
		{"broken YAML elsewhere", "state_dir: /s\nhosts: [}\n\tx: *y\n", "/s/renewer.sock"},
		{"not UTF-8 elsewhere", "state_dir: /s\nhosts: \xff\n", "/s/renewer.sock"},
		{"a list in column 1", "certificates:\n- name: x\n- api: {socket: /no}\nstate_dir: /s\n", "/s/renewer.sock"},
		{"a long file", "state_dir: /s" + strings.Repeat(long, 8000) + "\napi:" + strings.Repeat(long, 8000) + "\n  socket: /r\nhosts: {}\n", "/r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := writeFile(t, filepath.Join(t.TempDir(), "renewer.yaml"), c.text)
			if got, err := SocketOf(file); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestSocketOfSaysWhyThereIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ text, want string }{
		{"hosts: {}\n", ":1:1: the fleet file has no state_dir; expected "},
		{"# nothing\n", ":1:1: the fleet file is empty; expected "},
		{"hosts: {}\nstate_dir: relative\n", ":2:1: state_dir is \"relative\"; expected an absolute path"},
		{"a: [}\n", ":1:1: not YAML: "},
		{"- 1\n", ":1:1: the fleet file is a list; expected a mapping"},
	} {
		file := writeFile(t, filepath.Join(dir, "renewer.yaml"), c.text)
		socket, err := SocketOf(file)
		var faults Faults
		if socket != "" || !errors.As(err, &faults) || len(faults) != 1 || !strings.HasPrefix(err.Error(), file+c.want) {
			t.Errorf("%q: %q, %v; want %s", c.text, socket, err, c.want)
		}
	}
	if _, err := SocketOf(dir); err == nil || !strings.HasSuffix(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := SocketOf(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// BenchmarkSocketOf finds the socket of a fleet file of 10,000 certificates
// and 10 MB.
func BenchmarkSocketOf(b *testing.B) {
	var text strings.Builder
	text.WriteString("state_dir: /var/lib/renewer\nissuers:\n  fleet-ca: {type: local}\ncertificates:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - name: web-%d\n    issuer: fleet-ca\n    profile: files\n    hosts: [localhost]\n    dir: /srv/%d/tls\n    sans: [%s]\n", i, i, strings.Repeat("www.example.com, ", 55))
	}
	file := writeFile(b, filepath.Join(b.TempDir(), "renewer.yaml"), text.String())
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if socket, err := SocketOf(file); err != nil || socket != "/var/lib/renewer/renewer.sock" {
			b.Fatal(socket, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "wall-ms")
}

// An operator who may not read the fleet file can still ask the daemon.
func TestUnreadableFleetFileNamesTheSocket(t *testing.T) {
	t.Parallel()
	err := notOpened("/etc/renewer/renewer.yaml", &fs.PathError{Op: "open", Path: "/etc/renewer/renewer.yaml", Err: syscall.EACCES})
	if got := err.Error(); got != "read the fleet file /etc/renewer/renewer.yaml: permission denied" || !strings.Contains(renewer.Hint(err), "--socket SOCKET") {
		t.Errorf("got %q, hint %q", got, renewer.Hint(err))
	}
}
