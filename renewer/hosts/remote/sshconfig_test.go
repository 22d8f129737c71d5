package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testssh"
	"renewer/renewer"
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
	known := []string{c.ssh("known_hosts"), c.ssh("known_hosts2"), c.allHosts, c.allHosts + "2"}
	usual := []string{c.ssh("id_rsa"), c.ssh("id_ecdsa"), c.ssh("id_ed25519")}
	web := target{
		host: "web.example.com", port: "2222", user: "deploy", known: known, userKnown: 2,
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
	said.port, said.user, said.identities, said.identityGiven, said.onlyThese, said.jumps = "22", "root", []string{"/key"}, true, true, nil
	check(Config{Address: "web", Port: 22, User: "root", IdentityFile: "/key", Jump: &Transport{}}, said)
	check(Config{Address: "b.short"}, target{host: "b.short.example.com", port: "22", user: "anybody", alias: "fleet", known: known, userKnown: 2, identities: usual})
	check(Config{Address: "10.0.0.1"}, target{host: "10.0.0.1", port: "22", user: "anybody", known: known, userKnown: 2, identities: usual})

	must(t, os.Remove(c.ssh("config")))
	check(Config{Address: "web"}, target{host: "web", port: "22", user: c.account, known: known, userKnown: 2, identities: usual})
}

// What cannot be read, and what is not done, is reported once; the rest counts: the
// fleet file can have it all.
func TestWhatOfSSHConfigIsNotDone(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := client(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	write(t, c.ssh("config"), "Match tagged x\n  User y\nHost web\n  BindInterface eth0\n  HostName w\nHost *\n  VerifyHostKeyDNS yes\n")
	for range 2 {
		got, err := c.resolve(Config{Address: "web", User: "root"})
		must(t, err)
		equal(t, "host", got.host, "w")
	}
	for _, what := range []string{"Match tagged", "bindinterface", "verifyhostkeydns", "config:1", "config:4"} {
		equal(t, what, strings.Count(log.String(), what), 1)
	}
	write(t, c.ssh("config"), "Include config\n")
	got, err := c.resolve(Config{Address: "web", User: "root"})
	must(t, err)
	equal(t, "host", got.host, "web")
	if !strings.Contains(log.String(), "ssh configuration is ignored") {
		t.Errorf("log %q", log.String())
	}
}

// What ssh(1) makes of a configuration; `ssh -G` says the same where it is
// installed.
func TestSSHConfigIsReadAsSSHDoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string
		want   target // host, port, user, jumps, command
	}{
		"the first value counts":        {"Port 1\nHost *\nPort 2", target{host: "box", port: "1"}},
		"an equals sign":                {"Host=box\nPort = 2\nUser=\"a b\"", target{host: "box", port: "2", user: "a b"}},
		"a pattern that is excluded":    {"Host * !box\nPort 2\nHost b?x\nUser u", target{host: "box", user: "u"}},
		"Match host after HostName":     {"HostName x.example\nMatch host x.example\nPort 2\nMatch host box\nPort 3", target{host: "x.example", port: "2"}},
		"Match originalhost":            {"HostName x.example\nMatch originalhost box,bax\nPort 2", target{host: "x.example", port: "2"}},
		"Match final":                   {"Match final host x.example\nPort 2\nHost box\nHostName x.example\nUser u", target{host: "x.example", port: "2", user: "u"}},
		"Match final comes later":       {"Match final\nPort 2\nHost box\nPort 3", target{host: "box", port: "3"}},
		"Match all":                     {"Match all\nPort 2", target{host: "box", port: "2"}},
		"Match user":                    {"User u\nMatch user u host box\nPort 2\nMatch user v\nUser w", target{host: "box", port: "2", user: "u"}},
		"Match with an exclamation":     {"Match !host box\nPort 2\nMatch !user nobody-here\nPort 3", target{host: "box", port: "3"}},
		"Match exec":                    {"Match exec \"test %n = box\"\nPort 2\nMatch exec false\nUser u", target{host: "box", port: "2"}},
		"a comment behind":              {"Port 2 # no\n# Port 3\n\tUser u", target{host: "box", port: "2", user: "u"}},
		"CR LF":                         {"Host box\r\n  Port 2\r\n", target{host: "box", port: "2"}},
		"ProxyCommand":                  {"HostName x.example\nProxyCommand nc -x 'a b' %h %p %%h", target{host: "x.example", command: "nc -x 'a b' x.example 22 %h"}},
		"ProxyCommand before ProxyJump": {"ProxyCommand nc %h %p\nProxyJump j", target{host: "box", command: "nc box 22"}},
		"ProxyJump before ProxyCommand": {"ProxyJump j\nProxyCommand nc %h %p", target{host: "box", jumps: []string{"j"}}},
		"ProxyCommand none":             {"ProxyCommand none\nProxyJump j", target{host: "box"}},
		"an include":                    {"Include more\nPort 3", target{host: "box", port: "2", user: "u"}},
		"an include in a block":         {"Host other\nInclude more\nHost *\nPort 3", target{host: "box", port: "3"}},
		"after an include":              {"Host box\nInclude more\nUser v\nPort 4", target{host: "box", port: "2", user: "u"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t)
			write(t, cl.ssh("more"), "Host other\nPort 9\nHost box\nPort 2\nMatch all\nUser u\n")
			write(t, cl.ssh("config"), c.config+"\n")
			got, err := cl.resolve(Config{Address: "box"})
			must(t, err)
			want := c.want
			want.port, want.user = firstOf(want.port, "22"), firstOf(want.user, cl.account)
			of := func(x target) string {
				return fmt.Sprint(x.host, " ", x.port, " ", x.user, " ", x.jumps, " ", x.command)
			}
			equal(t, "target", of(got), of(want))
		})
	}
}

func FuzzSSHConfig(f *testing.F) {
	f.Add("Host a b\nMatch final exec x\nProxyCommand \"x\n")
	f.Add("Include =\n=\n\"\nhost\nmatch host\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "exec") || strings.Contains(strings.ToLower(text), "include") {
			return
		}
		c := client(t)
		write(t, c.ssh("config"), text)
		_, err := c.resolve(Config{Address: "box", User: "u", Port: 1})
		must(t, err)
	})
}

// The command of ProxyCommand is the way to the host, and ends with it. It has
// nothing of what renewer was given.
func TestProxyCommand(t *testing.T) {
	cfg := sshd(t)
	t.Setenv("VAULT_TOKEN", "secret")
	c := client(t)
	dir := t.TempDir()
	write(t, dir+"/way", fmt.Sprintf("env >%s/env; echo $$ >%s/pid; exec /usr/sbin/sshd -i -f %s/sshd_config\n", dir, dir, filepath.Dir(cfg.KnownHostsFile)))
	write(t, c.ssh("config"), "Host box\n  HostName host.invalid\n  HostKeyAlias box\n  ProxyCommand sh "+dir+"/way\n")
	known, err := os.ReadFile(cfg.KnownHostsFile)
	must(t, err)
	_, key, _ := strings.Cut(string(known), " ")
	write(t, c.ssh("known_hosts"), "box "+key)
	tr := reach(t, c, Config{Name: "box", User: cfg.User, IdentityFile: cfg.IdentityFile})
	placeOverOpenSSH(t, tr)
	env, err := os.ReadFile(dir + "/env")
	must(t, err)
	if strings.Contains(string(env), "VAULT") {
		t.Errorf("environment of the command: %s", env)
	}
	pid, err := os.ReadFile(dir + "/pid")
	must(t, err)
	must(t, tr.Close())
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil {
		t.Error("the command still runs")
	}

	must(t, reach(t, c, Config{Name: "box", IdentityFile: cfg.IdentityFile}).Reach(t.Context()))
	write(t, c.ssh("config"), "Host box\n  ProxyCommand sh -c 'echo no route to it >&2'\n")
	if err := reach(t, c, Config{Name: "box", IdentityFile: cfg.IdentityFile}).Reach(t.Context()); !errors.Is(err, renewer.ErrUnreachable) || !strings.Contains(err.Error(), "no route to it") {
		t.Errorf("a glance at a host that the command does not get to: %v", err)
	}
	write(t, c.ssh("config"), "Host box\n  ProxyCommand exec sleep 100\n")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := reach(t, c, Config{Name: "box", IdentityFile: cfg.IdentityFile}).Reach(short); err == nil {
		t.Error("a glance at a host that says nothing: no error")
	}
	write(t, c.ssh("config"), "Host box\n  ProxyCommand sh -c 'echo no route to it >&2'\n")
	err = oneRun(t, reach(t, c, Config{Name: "box", IdentityFile: cfg.IdentityFile}))
	if err == nil || !strings.Contains(err.Error(), "no route to it") {
		t.Errorf("error %v", err)
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
	refused(t, oneRun(t, tr), "too many jump hosts", "loop")
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
