package server

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	if _, err := Dial(s.socket.path); err != nil {
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
	if _, err := Dial(path); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("dial a dead socket: %v", err)
	}
	_, stop := served(t, Options{Service: &fakeService{}, Socket: path})
	_, err = New(Options{Socket: path, Log: quiet})
	if want := fmt.Sprintf("already served by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second one got %v", err)
	}
	if _, err := Dial(path); err != nil {
		t.Errorf("the first one was harmed: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(path); !errors.Is(err, ErrNoDaemon) {
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
	if _, err := Dial(path); err != nil {
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

func TestPeersThatArePermitted(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		uid, self int
		want      bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if got := permitted(x.uid, x.self); got != x.want {
			t.Errorf("uid %d to a daemon of %d: %v", x.uid, x.self, got)
		}
	}
}

// dialAs makes TestDialHelper the process of another user: it dials the socket and says what it got.
const dialAs = "RENEWER_TEST_DIAL"

func TestDialHelper(t *testing.T) {
	path := os.Getenv(dialAs)
	if path == "" {
		return // not asked for by TestAnotherUserIsRefused
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		t.Log("dial:", errors.Is(err, fs.ErrPermission))
		return
	}
	defer c.Close()
	_, _ = fmt.Fprint(c, "GET /v1/plan HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	t.Logf("read: %q %v", line, err != nil)
}

// The mode keeps another user out, and the peer's credentials do so even where
// somebody widened the mode.
func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user; permitted is tested apart")
	}
	dir, err := os.MkdirTemp("", "renewer-socket")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	served(t, Options{Service: &fakeService{}, Socket: path})
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "helper") // where the other user can read it
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	as := func() string {
		cmd := exec.Command(exe, "-test.run=^TestDialHelper$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), dialAs+"="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := as(); !strings.Contains(out, "dial: true") {
		t.Errorf("mode 0600: %s", out)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if out := as(); !strings.Contains(out, `read: "" true`) {
		t.Errorf("mode 0666: %s", out)
	}
}
