package daemon

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"renewer/internal/testssh"
	"renewer/renewer"
)

// strictHost is OpenSSH's server and sudo of this machine, as an account that may run
// through sudo what stands in one file and nothing else. What is put in the place of
// files of /etc, and of systemctl, is seen by the processes of its connections alone.
type strictHost struct {
	dir  string
	text string // of the hosts: in the fleet file
}

const strictUser = "renewer-strict"

// inPlace are files of the machine that its connections see others of.
var inPlace = map[string]string{
	"passwd": "/etc/passwd", "group": "/etc/group", "shadow": "/etc/shadow", "sudoers": "/etc/sudoers", "systemctl": "/usr/bin/systemctl",
}

// systemctl knows that every unit is loaded, runs and can reload.
const systemctl = `#!/bin/sh
case "$*" in
*is-system-running*) echo running; exit;;
*" show "*) ;;
*) exit;;
esac
for arg; do case "$arg" in --property=*) list=${arg#--property=};; esac; done
IFS=,
for name in $list; do
	case "$name" in
	LoadState) echo LoadState=loaded;; ActiveState) echo ActiveState=active;; SubState) echo SubState=running;; CanReload) echo CanReload=yes;;
	MainPID) echo MainPID=1;; *) echo "$name=";;
	esac
done
`

func newStrictHost(t *testing.T) *strictHost {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a machine with another account and another sudoers file")
	}
	for _, file := range []string{"/usr/sbin/sshd", "/usr/bin/sudo", "/usr/bin/unshare", "/usr/bin/systemctl", "/usr/lib/openssh/sftp-server"} {
		if _, err := os.Stat(file); err != nil {
			t.Skip(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("no mounts of its own here: %v: %s", err, out)
	}
	must(t, os.MkdirAll("/run/sshd", 0o755))
	h := &strictHost{dir: shortDir(t)}
	must(t, os.Chmod(h.dir, 0o755))
	host, login := testssh.NewKey(t), testssh.NewKey(t)
	for _, name := range []string{"passwd", "group", "shadow"} {
		line := map[string]string{"passwd": strictUser + ":x:47110:47110::/:/bin/sh\n", "group": strictUser + ":x:47110:\n", "shadow": strictUser + ":*:19000::::::\n"}[name]
		text, err := os.ReadFile("/etc/" + name)
		must(t, err)
		must(t, os.WriteFile(h.dir+"/"+name, append(text, line...), 0o644))
	}
	must(t, os.WriteFile(h.dir+"/systemctl", []byte(systemctl), 0o755))
	must(t, os.WriteFile(h.dir+"/authorized_keys", ssh.MarshalAuthorizedKey(login.Signer.PublicKey()), 0o644))
	must(t, os.WriteFile(h.dir+"/sshd_config", fmt.Appendf(nil, "HostKey %s\nAuthorizedKeysFile %s/authorized_keys\nStrictModes no\nUsePAM no\nSubsystem sftp internal-sftp\n", host.File, h.dir), 0o644))
	h.allow(t, strictUser+" ALL = (ALL) /bin/false\n")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, os.WriteFile(h.dir+"/known_hosts", fmt.Appendf(nil, "[127.0.0.1]:%d %s", port, ssh.MarshalAuthorizedKey(host.Signer.PublicKey())), 0o644))
	h.text = fmt.Sprintf("{address: 127.0.0.1, port: %d, user: %s, sudo: true, identity_file: %s, known_hosts_file: %s/known_hosts}", port, strictUser, login.File, h.dir)
	h.serve(t, l)
	return h
}

func (h *strictHost) serve(t *testing.T, l net.Listener) {
	line := "set -e\n"
	for name, file := range inPlace {
		line += "mount --bind " + h.dir + "/" + name + " " + file + "\n"
	}
	line += "exec /usr/sbin/sshd -i -f " + h.dir + "/sshd_config -E " + h.dir + "/sshd.log"
	var work sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
		if log, _ := os.ReadFile(h.dir + "/sshd.log"); t.Failed() {
			t.Logf("sshd: %s", log)
		}
	})
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stream, err := c.(*net.TCPConn).File()
			_ = c.Close()
			if err != nil {
				t.Error(err)
				return
			}
			work.Go(func() {
				cmd := exec.Command("unshare", "-m", "sh", "-c", line)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = stream, stream, os.Stderr
				_ = cmd.Run() // what matters is seen at the client
				_ = stream.Close()
			})
		}
	})
}

// allow is what sudo allows from the next connection on. It asks for no password, since
// then it writes down what it refuses.
func (h *strictHost) allow(t *testing.T, rules string) {
	t.Helper()
	must(t, os.WriteFile(h.dir+"/sudoers.new", []byte("Defaults logfile="+h.dir+"/sudo.log, loglinelen=0, !authenticate\nroot ALL = (ALL) ALL\n"+rules), 0o440))
	if out, err := exec.CommandContext(t.Context(), "visudo", "-c", "-q", "-f", h.dir+"/sudoers.new").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.Rename(h.dir+"/sudoers.new", h.dir+"/sudoers"))
}

// refused are the lines of sudo's log about what it refused.
func (h *strictHost) refused(t *testing.T) (out []string) {
	t.Helper()
	log, err := os.ReadFile(h.dir + "/sudo.log")
	must(t, err)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "command not allowed") || strings.Contains(line, "NOT in sudoers") {
			out = append(out, line)
		}
	}
	return out
}

// With what renewer host sudoers prints, and nothing else, placements of every kind
// are staged, activated, proven, looked at, gone back from and pruned, and sudo refuses
// nothing of it.
func TestWholePlacementsUnderTheSudoersFileAsPrinted(t *testing.T) {
	t.Parallel()
	strict := newStrictHost(t)
	ctx := t.Context()
	service := exec.CommandContext(ctx, "setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", `trap : HUP; echo ready; while :; do sleep 1000 & wait; done`)
	service.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := service.StdoutPipe()
	must(t, err)
	must(t, service.Start())
	t.Cleanup(func() { _ = syscall.Kill(-service.Process.Pid, syscall.SIGKILL); _ = service.Wait() })
	_, err = out.Read(make([]byte, 6))
	must(t, err)
	must(t, os.WriteFile(strict.dir+"/pid", fmt.Appendln(nil, service.Process.Pid), 0o644))
	for _, name := range []string{"theirs", "mixed", "dagu"} { // of the service's own user
		must(t, os.Mkdir(strict.dir+"/"+name, 0o755))
		must(t, os.Chown(strict.dir+"/"+name, 65534, 65534))
	}

	h := &house{t: t, dir: shortDir(t)}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	text := `state_dir: STATE
issuers: {ca: {type: local}}
hosts: {strict: ` + strict.text + `}
defaults: {issuer: ca, profile: files, hosts: [strict], lifetime: 1h}
certificates:
  - {name: restarts, dir: DIR/restarts, activate: {systemd: {units: [one.service, two.service], action: restart}}}
  - {name: reloads, dir: DIR/reloads, activate: {systemd: {units: [three.service], action: reload}}}
  - {name: signals, dir: DIR/signals, activate: {signal: {pid_file: DIR/pid, signal: HUP}}}
  - {name: commands, dir: DIR/commands, activate: {command: [/bin/touch, "DIR/it's done"]}, probe: {command: [/bin/test, -r, "DIR/it's done"]}}
  - {name: files, dir: DIR/files}
  - {name: theirs, dir: DIR/theirs, owner: nobody, group: nogroup}
  - {name: mixed, dir: DIR/mixed, owner: root}
  - {name: worker, profile: dagu-worker, dir: DIR/dagu, owner: nobody, group: nogroup}
  - {name: bundle, profile: ca-bundle, dir: DIR/bundle}
`
	must(t, os.WriteFile(h.file, []byte(strings.NewReplacer("STATE", h.dir+"/state", "DIR", strict.dir).Replace(text)), 0o600))
	fleet := h.load()
	_, err = CAInit(fleet, "ca")
	must(t, err)
	a := h.open()
	res, err := a.RunOnce(ctx, nil)
	if said := failure(res, err); !strings.Contains(said, "renewer host sudoers strict prints all that has to be allowed there") {
		t.Errorf("without rights: %s", said)
	}
	before := strict.refused(t)
	if len(before) == 0 {
		t.Fatal("sudo refused nothing to an account without rights")
	}
	must(t, a.Close())
	rules, err := Sudoers(fleet, "strict")
	must(t, err)
	strict.allow(t, rules)

	a = h.open()
	for n := range 4 { // the fourth has something to prune
		what := renewer.RenewRequest{All: true}
		if res, err := a.Renew(ctx, what, nil); err != nil || res.Failed() {
			t.Fatalf("renewal %d: %s", n, failure(res, err))
		}
	}
	seen, err := a.Verify(ctx, nil)
	must(t, err)
	for _, v := range seen {
		if !v.OK {
			t.Errorf("verified %+v", v)
		}
	}
	if res, err := a.Rollback(ctx, "restarts", nil); err != nil || res.Failed() {
		t.Errorf("rollback: %s", failure(res, err))
	}
	_, err = a.Doctor(ctx, "strict")
	must(t, err)
	must(t, a.Close())
	for _, line := range strict.refused(t)[len(before):] {
		t.Errorf("sudo refused: %s", line)
	}
}
