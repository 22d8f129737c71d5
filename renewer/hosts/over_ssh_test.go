package hosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"renewer/internal/testssh"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

func init() { hosts.AlsoOver("ssh", start) }

// overSSH is this machine reached over SSH, files by SFTP. Its operations are
// the requests to the SFTP server.
type overSSH struct {
	t      testing.TB
	server *testssh.Server
	client *remote.Client
	known  string
	wrote  []int // by the run without a fault
}

func start(t testing.TB) hosts.Machine {
	s := testssh.Start(t, testssh.Options{})
	standIn(t, s)
	return &overSSH{t: t, server: s, client: remote.NewClient(remote.Options{Home: t.TempDir()}), known: s.KnownHosts(t)}
}

// standIn puts a docker command on the host that knows dial-stdio alone.
func standIn(t testing.TB, s *testssh.Server) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ \"$1 $3 $4\" = '-H system dial-stdio' ] || exit 99\n" + hosts.Dialled + "=\"$2\" exec '" + exe + "'\n"
	if err := os.WriteFile(filepath.Join(s.Bin, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (m *overSSH) Open(root string) hosts.Transport {
	return m.client.Transport(remote.Config{
		Name: "host-a", Address: m.server.Host, Port: m.server.Port, User: testssh.User,
		IdentityFile: m.server.Login.File, KnownHostsFile: m.known, Root: root,
	})
}

func (m *overSSH) Injected() error { return remote.ErrLost }

// Every: what the disk looks like after a fault is tested without SSH.
func (m *overSSH) Every() int { return 8 }

// Break cuts the connection: with Once before the request arrives, with Crash
// after it had its effect and before the answer. Requests that are under way
// together change places from run to run, so Crash goes by those that write.
func (m *overSSH) Break(root string, at int, way string, look func(op string)) (hosts.Transport, *hosts.Count) {
	count := &hosts.Count{}
	crash := slices.Index(m.wrote, at) + 1
	m.server.SetFault(func(r testssh.Request) testssh.Fault {
		count.Ops = r.N
		if r.Writes {
			count.Wrote = append(count.Wrote, r.N)
		}
		switch {
		case at == 0:
			m.wrote = count.Wrote
		case way == hosts.Once && r.N == at:
			return testssh.CutBefore
		case way == hosts.Crash && r.Writes && len(count.Wrote) == crash:
			return testssh.CutAfter
		}
		return testssh.None
	}, func(r testssh.Request) {
		if r.N >= at {
			look(fmt.Sprintf("request %d of type %d", r.N, r.Type))
		}
	})
	return m.Open(root), count
}

func (m *overSSH) Mend(t hosts.Transport) hosts.Transport {
	m.server.SetFault(nil, nil)
	return t
}
