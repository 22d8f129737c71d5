package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"renewer/renewer"
)

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

// as makes TestAnotherUser the process of another user: "dial SOCKET" or "serve SOCKET".
const as = "RENEWER_TEST_AS"

func TestAnotherUser(t *testing.T) {
	what, socket, _ := strings.Cut(os.Getenv(as), " ")
	switch what {
	case "dial":
		c, err := Dial(socket, nil)
		if err != nil {
			fmt.Printf("dial: %v; %s\n", err, renewer.Hint(err))
			return
		}
		_, err = c.Plan(t.Context(), renewer.PlanRequest{})
		fmt.Printf("plan: %v\n", err)
		_, err = c.Renew(t.Context(), renewer.RenewRequest{All: true}, nil)
		fmt.Printf("renew: %v; %s\n", err, renewer.Hint(err))
		fmt.Printf("backup: %v\n", c.Backup(t.Context(), io.Discard))
	case "serve":
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(socket, 0o666)
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
		_ = l.Close()
	}
}

// another is the command of a process of another user, and a directory that it can use.
func another(t *testing.T) (dir string, start func(what string, cred syscall.Credential) *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user; permitted is tested apart")
	}
	dir, err := os.MkdirTemp("", "renewer-socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "helper") // where the other user can read it
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, func(what string, cred syscall.Credential) *exec.Cmd {
		cmd := exec.Command(exe, "-test.run=^TestAnotherUser$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), as+"="+what)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &cred}
		return cmd
	}
}

const readers = 4242 // a group of no name

// other is the user that tests run a program as, with its name where this machine has one.
var other = userOf(65534)

// Members of the group may read and no more, whether it is their first group or
// another one; the mode keeps others out, and so do the peer's credentials where
// somebody widened the mode.
func TestSocketGroupMayRead(t *testing.T) {
	dir, start := another(t)
	var by string
	f := &fakeService{
		plan: func(context.Context, renewer.PlanRequest) (renewer.PlanView, error) { return renewer.PlanView{}, nil },
		renew: func(ctx context.Context, _ renewer.RenewRequest, _ func(renewer.Event)) (renewer.RunResult, error) {
			by = renewer.OperatorOf(ctx)
			return renewer.RunResult{}, nil
		},
		backup: func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "x"); return err },
	}
	group, closed := filepath.Join(dir, "group"), filepath.Join(dir, "closed")
	served(t, Options{Service: f, Socket: group, Group: fmt.Sprint(readers)})
	served(t, Options{Service: f, Socket: closed})
	if st, err := os.Lstat(group); err != nil || st.Mode() != fs.ModeSocket|0o660 || st.Sys().(*syscall.Stat_t).Gid != readers {
		t.Errorf("the socket is %v, %v", st, err)
	}
	for _, x := range []struct {
		what, socket string
		mode         fs.FileMode
		groups       []uint32 // the first is the primary one
		want         []string
	}{
		{"a member", group, 0o660, []uint32{readers}, []string{"plan: <nil>", "renew: " + other + " may only read, as a member of group 4242; run this as root, or as the user that renewer runs as: uid 0 (root)", "backup: " + other + " may only read"}},
		{"a member by another group", group, 0o660, []uint32{65534, 7, readers}, []string{"plan: <nil>", "renew: " + other + " may only read"}},
		{"another user", group, 0o660, []uint32{65534}, []string{"dial: connect to the daemon at " + group, "permission denied; run this as the user of the daemon, uid 0 (root), or as root"}},
		{"another user, a wide mode", group, 0o666, []uint32{65534, 7}, []string{"plan: no answer from the daemon", "renew: no answer from the daemon"}},
		{"a socket without a group", closed, 0o666, []uint32{readers, readers}, []string{"plan: no answer from the daemon", "renew: no answer from the daemon"}},
		{"root", group, 0o660, nil, []string{"plan: <nil>", "renew: <nil>", "backup: <nil>"}},
	} {
		if err := os.Chmod(x.socket, x.mode); err != nil {
			t.Fatal(err)
		}
		cred := syscall.Credential{Uid: 0, Gid: 0}
		if x.groups != nil {
			cred = syscall.Credential{Uid: 65534, Gid: x.groups[0], Groups: x.groups[1:]}
		}
		cmd := start("dial "+x.socket, cred)
		cmd.Env = append(cmd.Env, "SUDO_USER=alice")
		if x.groups == nil {
			cmd.Env = append(cmd.Env, "SUDO_USER=a b\n\x1b")
		}
		out, err := cmd.CombinedOutput()
		for _, want := range x.want {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v, %s; want %q", x.what, err, out, want)
			}
		}
	}
	if !strings.HasPrefix(by, "uid 0 (") || !strings.HasSuffix(by, `), sudo by "a b\n\x1b"`) {
		t.Errorf("requested by %q", by)
	}
}

func TestSocketGroupThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ group, want, hint string }{
		{"no-such-group", "this machine has no such group", "groupadd no-such-group"},
		{"4242", "its members cannot enter " + dir + " (mode 0700)", "RuntimeDirectoryMode=0711"},
	} {
		_, err := New(Options{Socket: filepath.Join(dir, "s"), Group: x.group, Log: quiet})
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(renewer.Hint(err), x.hint) {
			t.Errorf("%s: %v; %s", x.group, err, renewer.Hint(err))
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket was made: %v", err)
	}
}

// A socket of another user is not used, unless the state directory is that user's, or
// root gave the user the directory of the socket.
func TestSocketOfAnotherUserIsNotUsed(t *testing.T) {
	dir, start := another(t)
	const uid = 65534
	state := filepath.Join(dir, "state")
	mk := func(path string, mode fs.FileMode, owner int) string {
		t.Helper()
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode), os.Chown(path, owner, owner)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mk(state, 0o700, uid)
	for _, x := range []struct {
		what, dir string
		owner     int
		parent    fs.FileMode // of its directory
		stateDir  string
		want      string
	}{
		{"in a directory of that user's own making", "a", uid, 0o777 | fs.ModeSticky, "", "serves it as " + other + ", which is neither root, nor you"},
		{"the same, of the owner of the state directory", "b", uid, 0o777 | fs.ModeSticky, state, ""},
		{"in a directory that root made for that user", "c", uid, 0o755, "", ""},
		{"in a directory of a third user", "d", 4242, 0o755, state, "its directory belongs to uid 4242"},
	} {
		parent := mk(filepath.Join(dir, x.dir), x.parent, 0)
		place := mk(filepath.Join(parent, "run"), 0o777|fs.ModeSticky, x.owner)
		socket := filepath.Join(place, "s")
		cmd := start("serve "+socket, syscall.Credential{Uid: uid, Gid: uid})
		end, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		_, err = Dial(socket, func() string { return x.stateDir })
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want) || renewer.Hint(err) == "") {
			t.Errorf("%s: %v; %s", x.what, err, renewer.Hint(err))
		}
		_ = end.Close()
		_ = cmd.Wait()
	}
}

func TestOperatorIsNamed(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		uid        int
		sudo, want string
	}{
		{0, "", "uid 0 (root)"},
		{0, "alice", "uid 0 (root), sudo by alice"},
		{0, `CORP\bob`, `uid 0 (root), sudo by CORP\bob`},
		{0, "bob@corp.example", "uid 0 (root), sudo by bob@corp.example"},
		{0, "müller", "uid 0 (root), sudo by müller"},
		{0, "a b", `uid 0 (root), sudo by "a b"`},
		{0, "a\nb\x1b[31m\u202e\u009b\xff", `uid 0 (root), sudo by "a\nb\x1b[31m\u202e\u009b` + "\ufffd" + `"`},
		{0, strings.Repeat("é ", 99), `uid 0 (root), sudo by "` + strings.Repeat("é ", 42) + `é"`},
		{0, "50%", `uid 0 (root), sudo by "50%"`},
		{987654321, "", "uid 987654321"},
		{987654321, "alice", "uid 987654321"},
	} {
		if got := (caller{uid: x.uid}).operator(x.sudo); got != x.want {
			t.Errorf("uid %d with %q: %q, want %q", x.uid, x.sudo, got, x.want)
		}
	}
}
