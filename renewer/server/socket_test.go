package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
)

func TestSocketIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "made", "s")
	s, _ := served(t, Options{Service: &fakeService{}, Socket: path})
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v", st.Mode())
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("its directory is %v, %v", st.Mode(), err)
	}
	if _, err := Dial(s.socket.path, nil); err != nil {
		t.Error(err)
	}
}

func TestSocketRefusesAWorldWritableDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Socket: filepath.Join(dir, "s"), Log: quiet})
	if err == nil || !strings.Contains(err.Error(), dir) || renewer.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Socket: filepath.Join(dir, "s"), Log: quiet})
	if err != nil {
		t.Fatalf("sticky: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketOfADeadDaemonIsReplacedAndALiveOneNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	if _, err := Dial(path, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("dial a dead socket: %v", err)
	}
	_, stop := served(t, Options{Service: &fakeService{}, Socket: path})
	_, err = New(Options{Socket: path, Log: quiet})
	if want := fmt.Sprintf("already served by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second one got %v", err)
	}
	if _, err := Dial(path, nil); err != nil {
		t.Errorf("the first one was harmed: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(path, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("dial no socket: %v", err)
	}
}

func TestSocketLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Socket: path, Log: quiet}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file was harmed")
	}
	_ = os.Remove(path)
	s, err := New(Options{Socket: path, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_ = s.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of another was removed: %v", err)
	}
}

func TestLongPathWorks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), strings.Repeat("d", 120), "renewer.sock")
	served(t, Options{Service: &fakeService{}, Socket: path})
	if _, err := Dial(path, nil); err != nil {
		t.Error(err)
	}
}

func TestPortThatIsTakenIsNamedAndTheSocketLetGo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(t.TempDir(), "s")
	_, err = New(Options{Socket: path, Port: Port{Listen: l.Addr().String()}, State: &fakeState{}, Metrics: NewMetrics("", &fakeState{}), Log: quiet})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || renewer.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stayed: %v", err)
	}
}
