package remote

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"renewer/internal/testssh"
)

func TestFleetFileWinsOverSSHConfig(t *testing.T) {
	t.Parallel()
	c := client(t)
	write(t, c.ssh("config"), `
Host web
  HostName web.example.com
  Port 2222
  User deploy
  IdentityFile ~/.ssh/web
  IdentityFile %d/%r-%h
  ProxyJump a@one:22,two
Host *.short
  HostName %h.example.com
  HostKeyAlias fleet
Host *
  User anybody
`)
	web := target{
		host: "web.example.com", port: "2222", user: "deploy", keyName: "web.example.com",
		identities: []string{c.ssh("web"), c.Home + "/deploy-web.example.com"}, jumps: []string{"a@one:22", "two"},
	}
	check := func(cfg Config, want target) {
		t.Helper()
		got, err := c.resolve(cfg)
		must(t, err)
		equal(t, cfg.Address, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	}
	check(Config{Address: "web"}, web)
	said := web
	said.port, said.user, said.identities, said.identityGiven, said.jumps = "22", "root", []string{"/key"}, true, nil
	check(Config{Address: "web", Port: 22, User: "root", IdentityFile: "/key", Jump: &Transport{}}, said)
	check(Config{Address: "b.short"}, target{host: "b.short.example.com", port: "22", user: "anybody", keyName: "fleet"})
	check(Config{Address: "10.0.0.1"}, target{host: "10.0.0.1", port: "22", user: "anybody", keyName: "10.0.0.1"})

	must(t, os.Remove(c.ssh("config")))
	check(Config{Address: "web"}, target{host: "web", port: "22", user: c.account, keyName: "web"})
}

// What the program cannot read it says, and goes on: the fleet file can have it all.
func TestSSHConfigThatCannotBeRead(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := client(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	write(t, c.ssh("config"), "Match exec true\n  User x\n")
	got, err := c.resolve(Config{Address: "web", User: "root"})
	must(t, err)
	equal(t, "host", got.host, "web")
	if !strings.Contains(log.String(), "ssh configuration is not used") {
		t.Errorf("log %q", log.String())
	}
}

// An alias, its key and two jumps, as somebody has them in ~/.ssh/config.
func TestAliasOverJumps(t *testing.T) {
	t.Parallel()
	login := testssh.NewKey(t)
	var servers []*testssh.Server
	for range 3 {
		servers = append(servers, testssh.Start(t, testssh.Options{Login: login}))
	}
	c := client(t)
	var known string
	for i, s := range servers {
		data, err := os.ReadFile(s.KnownHosts(t))
		must(t, err)
		known += strings.Replace(string(data), "127.0.0.1", "localhost", i%2) // each by its own name
	}
	write(t, c.ssh("known_hosts"), known)
	key, err := os.ReadFile(login.File)
	must(t, err)
	write(t, filepath.Join(c.Home, "keys", "fleet"), string(key))
	write(t, c.ssh("config"), fmt.Sprintf(`
Host host-b
  HostName 127.0.0.1
  Port %d
  ProxyJump first,renewer@127.0.0.1:%d
Host first
  HostName localhost
  Port %d
Host *
  User renewer
  IdentityFile ~/keys/fleet
  IdentityFile ~/keys/missing
`, servers[2].Port, servers[0].Port, servers[1].Port))
	tr := reach(t, c, Config{Name: "host-b"})
	must(t, oneRun(t, tr))
	for i, s := range servers {
		equal(t, fmt.Sprint("connections of server ", i), s.Connections(), 1)
	}
}

func TestJumpsInACircle(t *testing.T) {
	t.Parallel()
	c := client(t)
	write(t, c.ssh("known_hosts"), "")
	write(t, c.ssh("config"), "Host *\n  ProxyJump a,b\n  IdentityFile "+testssh.NewKey(t).File+"\n")
	tr := reach(t, c, Config{Name: "host-b"})
	refused(t, oneRun(t, tr), "too many jumps", "circle")
}

func TestCacheSeesChanges(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	var c cache[[]byte]
	reads := 0
	read := func(f string) ([]byte, error) { reads++; return os.ReadFile(f) }
	for _, text := range []string{"one", "one", "three"} {
		if data, _ := os.ReadFile(file); string(data) != text {
			must(t, os.WriteFile(file, []byte(text), 0o600))
		}
		got, err := c.get(file, read)
		must(t, err)
		if !slices.Equal(got, []byte(text)) {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	equal(t, "reads", reads, 2)
	must(t, os.Truncate(file, fileLimit+1))
	if _, err := c.get(file, read); err == nil {
		t.Error("read a file without end")
	}
}
