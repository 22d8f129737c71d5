package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"renewer/internal/testssh"
)

// The names of files in ssh_config have a tilde, tokens and variables; one that is not
// set costs that value alone, and is named where it matters.
func TestNamesInSSHConfigAreFilled(t *testing.T) {
	t.Setenv("RENEWER_TEST_DIR", "/a%h")
	c := client(t)
	write(t, c.ssh("config"), strings.Join([]string{
		`IdentityFile ${HOME}/k`, `IdentityFile ${RENEWER_TEST_DIR}/%r@%h`, `IdentityFile ${RENEWER_TEST_NONE}/k`, `CertificateFile ${HOME}/c`, `User u`,
		`IdentityAgent ${HOME}/%n.agent`, `UserKnownHostsFile ${HOME}/%k ~root/x ${RENEWER_TEST_NONE}`, `GlobalKnownHostsFile ~/all`, `ProxyJump %n.bastion,x%%y`,
	}, "\n"))
	got, err := c.resolve(Config{Address: "box"})
	must(t, err)
	equal(t, "identities", fmt.Sprint(got.identities), fmt.Sprint([]string{c.Home + "/k", "/a%h/u@box"}))
	equal(t, "certificates", fmt.Sprint(got.certificates), fmt.Sprint([]string{c.Home + "/c"}))
	equal(t, "agent", got.agent, c.Home+"/box.agent")
	equal(t, "known", fmt.Sprint(got.known), fmt.Sprint([]string{c.Home + "/box", "/root/x", c.Home + "/all"}))
	equal(t, "jumps", fmt.Sprint(got.jumps), "[box.bastion x%y]")
	equal(t, "unset", fmt.Sprint(got.unset), "[${RENEWER_TEST_NONE}/k: the environment variable RENEWER_TEST_NONE is not set for renewer ${RENEWER_TEST_NONE}: the environment variable RENEWER_TEST_NONE is not set for renewer]")

	t.Setenv("RENEWER_TEST_DIR", "/agent")
	write(t, c.ssh("config"), "IdentityAgent $RENEWER_TEST_DIR # as older versions have it\n")
	got, err = c.resolve(Config{Address: "box", User: "v"})
	must(t, err)
	equal(t, "agent", got.agent, "/agent")
}

// A key that is named and cannot be used is named in the error, whether there are others or not.
func TestNamedKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	cfg := config(t, s)
	cfg.IdentityFile = ""
	c := client(t)
	write(t, c.ssh("config"), "IdentityFile ${RENEWER_TEST_NONE}/k\nIdentityFile ~/.ssh/gone\n")
	err := oneRun(t, reach(t, c, cfg))
	refused(t, err, "RENEWER_TEST_NONE is not set", "identity_file")
	refused(t, err, c.ssh("gone")+": no such file", "identity_file")
	c = client(t, func(o *Options) { o.Agent = runAgent(t, testssh.NewKey(t)) })
	write(t, c.ssh("config"), "IdentityFile ~/.ssh/gone\n")
	refused(t, oneRun(t, reach(t, c, cfg)), "not used: identity file", "authorized_keys")
	write(t, c.ssh("config"), "IdentityFile ~/.ssh/gone\nIdentitiesOnly yes\n")
	refused(t, oneRun(t, reach(t, c, cfg)), "ssh-agent has 1, but IdentitiesOnly allows only", "identity_file")
}

// dns knows some names, all of them fully qualified, and what they are aliases of.
type dns map[string]string

func (d dns) LookupHost(_ context.Context, name string) ([]string, error) {
	if _, ok := d[strings.TrimSuffix(name, ".")]; !ok {
		return nil, errors.New("no such host")
	}
	return []string{"192.0.2.1"}, nil
}

func (d dns) LookupCNAME(_ context.Context, name string) (string, error) {
	to, ok := d[strings.TrimSuffix(name, ".")]
	if !ok {
		return "", errors.New("no such host")
	}
	return firstOf(to, name) + ".", nil
}

// CanonicalizeHostname: ssh.c of OpenSSH, resolve_canonicalize and check_follow_cname.
func TestCanonicalNames(t *testing.T) {
	t.Parallel()
	names := dns{"box.b.example": "", "alias.b.example": "real.b.example", "a.c.b.example": "", "anchored.example": "", "bare": "real.b.example"}
	const domains = "CanonicalizeHostname yes\nCanonicalDomains a.example b.example\n"
	for name, c := range map[string]struct{ config, host, want string }{
		"a domain that has it":      {domains, "box", "box.b.example"},
		"no":                        {"CanonicalizeHostname no\nCanonicalDomains b.example\n", "box", "box"},
		"found nowhere":             {domains, "bax", "bax"},
		"found nowhere, and it may": {domains + "CanonicalizeFallbackLocal no\n", "bax", ""},
		"dots enough":               {domains, "a.c.d", "a.c.d"},
		"one dot":                   {domains, "a.c", "a.c.b.example"},
		"no dot":                    {domains + "CanonicalizeMaxDots 0\n", "a.c", "a.c"},
		"anchored":                  {domains, "anchored.example.", "anchored.example"},
		"domains: none":             {"CanonicalizeHostname yes\nCanonicalDomains none b.example\n", "box", "box"},
		"HostName comes first":      {domains + "Host x\nHostName box\n", "x", "box.b.example"},
		"over a command":            {domains + "ProxyCommand nc a b\n", "box", "box"},
		"over a jump":               {domains + "ProxyJump j\n", "box", "box"},
		"always":                    {"ProxyJump j\nCanonicalizeHostname always\nCanonicalDomains b.example\n", "box", "box.b.example"},
		"an alias":                  {domains, "alias", "alias.b.example"},
		"an alias that counts":      {domains + "CanonicalizePermittedCNAMEs *.x:* *.b.example:*.b.example\n", "alias", "real.b.example"},
		"an alias that does not":    {domains + "CanonicalizePermittedCNAMEs *.b.example:*.c.example\n", "alias", "alias.b.example"},
		"an alias without a domain": {domains + "CanonicalizePermittedCNAMEs *:*.b.example\n", "bare", "real.b.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t)
			cl.names = names
			write(t, cl.ssh("config"), c.config+"Host *.b.example\nPort 2\nMatch canonical\nUser u\n")
			got, err := cl.resolve(Config{Address: c.host})
			if c.want == "" {
				refused(t, err, "bax was not found in any of CanonicalDomains (a.example, b.example)", "address:")
				return
			}
			must(t, err)
			equal(t, "host", got.host, c.want)
			equal(t, "Host of the second pass", got.port == "2", strings.HasSuffix(c.want, ".b.example"))
			equal(t, "Match canonical", got.user == "u", !strings.HasPrefix(c.config, "CanonicalizeHostname no"))
		})
	}
}

// hostsProgram is one that notes what it is asked, and prints lines.
func hostsProgram(t *testing.T, lines string) (program, notes string) {
	t.Helper()
	dir := t.TempDir()
	program, notes = filepath.Join(dir, "hosts"), filepath.Join(dir, "notes")
	write(t, filepath.Join(dir, "lines"), lines)
	write(t, program, "#!/bin/sh\necho \"$@\" >>"+notes+"\n[ -s "+dir+"/lines ] || { echo 'no directory today' >&2; exit 3; }\ncat "+dir+"/lines\n")
	must(t, os.Chmod(program, 0o700))
	return program, notes
}

// KnownHostsCommand is asked before the types of keys are chosen, and about the key that is shown.
func TestKnownHostsCommand(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	known, err := os.ReadFile(s.KnownHosts(t))
	must(t, err)
	fields := strings.Fields(string(known))
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(fields[1:], " ")))
	must(t, err)
	other := testssh.NewKey(t).Signer.PublicKey()
	for name, c := range map[string]struct{ lines, err, hint string }{
		"known":   {string(known), "", ""},
		"fails":   {"", "exit status 3: no directory today", "run it"},
		"unknown": {"elsewhere " + strings.Join(fields[1:], " ") + "\n", "is unknown", "then make KnownHostsCommand ("},
		"changed": {line(fields[0], other), "has changed", "stop printing the old key"},
		"revoked": {string(known) + "@revoked * " + strings.Join(fields[1:], " ") + "\n", "is revoked (KnownHostsCommand", "new host keys"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t)
			program, notes := hostsProgram(t, c.lines)
			write(t, cl.ssh("config"), "UserKnownHostsFile /dev/null\nKnownHostsCommand "+program+" %I %H %t %f %K \"%r %%\"\n")
			cfg := config(t, s)
			cfg.KnownHostsFile = ""
			err := oneRun(t, reach(t, cl, cfg))
			if c.err != "" {
				refused(t, err, c.err, c.hint)
			} else {
				must(t, err)
			}
			data, err := os.ReadFile(notes)
			must(t, err)
			want := "ORDER " + fields[0] + " NONE NONE NONE renewer %\n"
			if c.lines != "" {
				want += fmt.Sprintf("HOSTNAME %s %s %s %s renewer %%\n", fields[0], key.Type(), ssh.FingerprintSHA256(key), fields[2])
			}
			equal(t, "asked", string(data), want)
		})
	}
	cl := client(t)
	write(t, cl.ssh("config"), "KnownHostsCommand cat /etc/hosts\n")
	cfg := config(t, s)
	cfg.KnownHostsFile = ""
	refused(t, oneRun(t, reach(t, cl, cfg)), "full path", "known_hosts_file")
}

// Where known hosts are kept nowhere, the hint names a place that keeps them.
func TestNoFileKeepsKnownHosts(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	cfg := config(t, s)
	cfg.KnownHostsFile = os.DevNull
	refused(t, oneRun(t, reach(t, client(t), cfg)), "is unknown", "known_hosts_file: of the host")
}

// RevokedHostKeys counts as with ssh(1): a key in it is refused, and without the file every host is.
func TestRevokedHostKeys(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	known, err := os.ReadFile(s.KnownHosts(t))
	must(t, err)
	own := strings.Join(strings.Fields(string(known))[1:], " ")
	for name, c := range map[string]struct {
		file *string
		err  string
	}{
		"another key": {new(string(ssh.MarshalAuthorizedKey(testssh.NewKey(t).Signer.PublicKey()))), ""},
		"the host's":  {new("# by mail\n" + own + " of the old disk\n"), "is revoked"},
		"binary":      {new("SSHKRL\n\x00..."), "lists are"},
		"missing":     {nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t)
			write(t, cl.ssh("config"), "RevokedHostKeys ~/revoked\n")
			if c.file != nil {
				write(t, cl.Home+"/revoked", *c.file)
			}
			err := oneRun(t, reach(t, cl, config(t, s)))
			if c.err == "" {
				must(t, err)
				return
			}
			refused(t, err, c.err, "")
		})
	}
}

// What renewer does not do of the ssh configuration is said where a host is not reached.
func TestWhatIsNotDoneIsSaidInTheError(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	cl := client(t)
	write(t, cl.ssh("config"), "BindInterface lo\nMatch tagged x\nPort 2\n")
	cfg := config(t, s)
	cfg.IdentityFile = testssh.NewKey(t).File
	err := oneRun(t, reach(t, cl, cfg))
	refused(t, err, "renewer does not support this setting of the ssh configuration", "authorized_keys")
	for _, what := range []string{"bindinterface (" + cl.ssh("config") + ":1)", "Match tagged (" + cl.ssh("config") + ":2)"} {
		if strings.Count(err.Error(), what) != 1 {
			t.Errorf("%q is not in %q", what, err)
		}
	}
	cfg = config(t, s)
	must(t, oneRun(t, reach(t, cl, cfg)))
}

// BindAddress and AddressFamily say how TCP is spoken.
func TestBindAddressAndFamily(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	for text, want := range map[string]string{
		"BindAddress 127.0.0.2\n": "", "AddressFamily inet\n": "", "AddressFamily any\n": "",
		"AddressFamily inet6\n": "no suitable address", "BindAddress 192.0.2.1\n": "assign requested address",
	} {
		cl := client(t)
		write(t, cl.ssh("config"), text)
		err := oneRun(t, reach(t, cl, config(t, s)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v", text, err)
		}
	}
	if !slices.Contains(undone, "bindinterface") {
		t.Error("BindInterface is done and not tested")
	}
}

// What is done without of the SSH files of the account can be asked for, with its place.
func TestRemarks(t *testing.T) {
	t.Parallel()
	cl := client(t)
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(testssh.NewKey(t).Signer.PublicKey())))
	write(t, cl.ssh("known_hosts"), "box "+key+"\nhalf ssh-ed25519\n@revoked box AAAA\n")
	write(t, cl.ssh("config"), "Host box\nIdentityFile ${RENEWER_TEST_NONE}/k\nBindInterface lo\nRevokedHostKeys ~/revoked\n")
	write(t, cl.Home+"/revoked", "# old\nAAAA\n")
	tr := reach(t, cl, Config{Name: "box"})
	for range 2 { // however often
		var texts []string
		for _, r := range tr.Remarks() {
			texts = append(texts, strings.ReplaceAll(r.Text, cl.Home, "~"))
			if r.Fix == "" {
				t.Errorf("%q has no fix", r.Text)
			}
		}
		equal(t, "remarks", strings.Join(texts, "\n"), strings.Join([]string{
			"~/.ssh/known_hosts:2 is ignored: it cannot be parsed (it has no complete key)",
			"~/.ssh/known_hosts:3 is ignored: the revoked key cannot be parsed (it has no complete key)",
			"~/revoked:2 is ignored: the revoked key cannot be parsed (it has no complete key)",
			"renewer does not support this setting of the ssh configuration: bindinterface (~/.ssh/config:3)",
			"a value of the ssh configuration is ignored: ${RENEWER_TEST_NONE}/k: the environment variable RENEWER_TEST_NONE is not set for renewer",
		}, "\n"))
	}
	write(t, cl.ssh("known_hosts"), "box "+key+"\n")
	write(t, cl.ssh("config"), "")
	equal(t, "remarks", len(tr.Remarks()), 0)
}
