package remote

import (
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reached are the lines of `ssh -G` that say how a host is reached and known.
var reached = []string{
	"hostname", "port", "user", "hostkeyalias", "identityfile", "certificatefile", "identitiesonly", "identityagent", "proxyjump", "proxycommand",
	"userknownhostsfile", "globalknownhostsfile",
}

// sshSays is what ssh(1) itself makes of a configuration, with the home written as ~.
func sshSays(t *testing.T, config, host string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ssh", "-G", "-F", config, host)
	var why strings.Builder
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ssh -G: %v: %s", err, why.String())
	}
	me, err := user.Current()
	must(t, err)
	said := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if slices.Contains(reached, key) {
			said[key] = append(said[key], strings.ReplaceAll(value, me.HomeDir+"/", "~/"))
		}
	}
	joined := map[string]string{}
	for key, values := range said {
		joined[key] = strings.Join(values, " ")
	}
	return joined
}

// renewerSays is the same of this package, with the words of `ssh -G`.
func renewerSays(c *Client, to target, alias string) map[string]string {
	said := map[string]string{
		"hostname": to.host, "port": to.port, "user": to.user, "identityfile": strings.Join(to.identities, " "),
		"certificatefile": strings.Join(to.certificates, " "), "identitiesonly": map[bool]string{true: "yes", false: "no"}[to.onlyThese],
		"proxyjump": strings.Join(to.jumps, ","), "proxycommand": to.command, "hostkeyalias": to.alias, "identityagent": to.agent,
		"userknownhostsfile": strings.Join(to.known[:to.userKnown], " "), "globalknownhostsfile": strings.Join(to.known[to.userKnown:], " "),
	}
	maps.DeleteFunc(said, func(_, value string) bool { return value == "" })
	for key, value := range said {
		said[key] = strings.ReplaceAll(value, c.Home+"/", "~/")
	}
	return said
}

// What ssh(1) says of a configuration, renewer says too.
func TestSSHConfigIsReadAsSSHSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("OpenSSH's client is not installed")
	}
	for name, config := range map[string]string{
		"nothing":                               "",
		"an alias with a port":                  "Host box\nPort 2222\nHostKeyAlias [Box]:22\n",
		"an alias is no pattern":                "HostKeyAlias %h.%n\nHostName x\n",
		"an alias without a value counts":       "HostKeyAlias a\nHostKeyAlias b\n",
		"Match host after HostName":             "HostName x.example\nMatch host x.example\nPort 2\nMatch host box\nPort 3\n",
		"Match originalhost":                    "HostName x.example\nMatch originalhost box,bax\nPort 2\n",
		"Match final":                           "Match final host x.example\nPort 2\nHost box\nHostName x.example\nUser u\n",
		"Match final comes later":               "Match final\nPort 2\nHost box\nPort 3\n",
		"Match final asks Host for the name":    "Host box\nHostName x.example\nHost x.example\nUser second\nMatch final\nPort 3\n",
		"Match canonical":                       "Match canonical\nPort 2\n",
		"Match canonical in a second pass":      "Match canonical\nPort 2\nMatch final\nUser u\n",
		"not final":                             "Match !final\nPort 2\nMatch final\nUser u\n",
		"Match all":                             "Match all\nPort 2\n",
		"Match user":                            "User u\nMatch user u host box\nPort 2\nMatch user v\nUser w\n",
		"Match with exclamations":               "Match !host box\nPort 2\nMatch !user nobody-here\nPort 3\n",
		"Match of a list with one not":          "Match host *,!box\nPort 2\nMatch host !bax,b*\nPort 3\n",
		"Match exec":                            "Match exec \"test %n = box\"\nPort 2\nMatch exec false\nUser u\n",
		"Match exec after a criterion":          "Match host bax exec \"exit 0\"\nPort 2\nMatch host box exec \"exit 0\"\nPort 3\n",
		"Match with an equals sign":             "Match host=box\nPort 2\n",
		"Host with an exclamation":              "Host * !box\nPort 2\nHost b?x\nUser u\n",
		"Host in capitals":                      "Host BOX\nPort 2\n",
		"Host with a comma":                     "Host box,bax\nPort 2\n",
		"a value in quotes":                     "User=\"a b\"\nIdentityFile \"~/x y\"\n",
		"a quote inside":                        "IdentityFile ~/x\" y\"\n",
		"single quotes":                         "IdentityFile '~/x y'\n",
		"a comment behind":                      "Port 2 # no\nUser u #v\n",
		"a value with a hash":                   "User u#v\n",
		"CR LF":                                 "Host box\r\n  Port 2\r\n",
		"several identities":                    "IdentityFile ~/a\nHost box\nIdentityFile ~/b\nIdentityFile ~/a\nIdentitiesOnly yes\n",
		"no identity":                           "IdentityFile none\n",
		"no identity, and then one":             "IdentityFile none\nIdentityFile ~/a\n",
		"no certificate":                        "CertificateFile none\n",
		"several certificates":                  "CertificateFile ~/a\nCertificateFile ~/b\nMatch final\nCertificateFile ~/c\n",
		"known hosts":                           "UserKnownHostsFile ~/a ~/b\nGlobalKnownHostsFile /c /d\n",
		"known hosts, none":                     "UserKnownHostsFile none\n",
		"known hosts, the first line counts":    "UserKnownHostsFile ~/a\nUserKnownHostsFile ~/b\n",
		"a jump and a command":                  "ProxyJump j\nProxyCommand nc a b\n",
		"a command and a jump":                  "ProxyCommand nc a b\nProxyJump j\n",
		"no command, and then a jump":           "ProxyCommand none\nProxyJump j\n",
		"no jump, and then a command":           "ProxyJump none\nProxyCommand nc a b\n",
		"no jump, and then a jump":              "Host box\nProxyJump none\nHost *\nProxyJump j\n",
		"no jump, a command, and a jump":        "ProxyJump none\nProxyCommand nc a b\nProxyJump j\n",
		"no jump, no command, and a jump":       "ProxyJump none\nProxyCommand none\nProxyJump j\nMatch final\nProxyJump k\n",
		"no command, and then a command":        "ProxyCommand none\nProxyCommand nc a\n",
		"several jumps":                         "ProxyJump a@one:22,two\n",
		"a jump by address":                     "ProxyJump a@[::1]:2222\n",
		"an agent":                              "IdentityAgent ~/agent\n",
		"no agent":                              "IdentityAgent none\n",
		"HostName of the name":                  "HostName %h.example\n",
		"HostName twice":                        "HostName a\nHostName b\n",
		"the same key in two blocks":            "Host box\nUser u\nHost *\nUser v\nPort 3\n",
		"an include":                            "Include DIR/more\nPort 3\n",
		"an include in a block":                 "Host other\nInclude DIR/more\nHost *\nPort 3\n",
		"after an include":                      "Host box\nInclude DIR/more\nUser v\nPort 4\n",
		"an include of what is not there":       "Include DIR/none DIR/more\n",
		"an include by a pattern":               "Include DIR/mo*\n",
		"a name that is only known in capitals": "host box\nPORT 2\nhostname X.Example\n",
		"tabs and spaces":                       "\tHost\tbox \n \t Port\t 2 \n",
		"canonical without domains":             "CanonicalizeHostname yes\nMatch canonical\nPort 2\nMatch all\nUser u\n",
		"canonical, and Host in a second pass":  "CanonicalizeHostname always\nHost box\nHostName x.y.example\nHost x.y.example\nPort 2\n",
		"canonical, over a command":             "CanonicalizeHostname yes\nCanonicalDomains invalid\nProxyCommand nc a b\nMatch canonical\nPort 2\n",
		"not canonical":                         "CanonicalizeHostname no\nMatch canonical\nPort 2\n",
		"an address is canonical":               "CanonicalizeHostname yes\nHostName ::0001\nMatch canonical host ::1\nPort 2\n",
		"IgnoreUnknown":                         "IgnoreUnknown Made*\nMadeUp yes\nPort 2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, func(o *Options) { o.Agent = "SSH_AUTH_SOCK" })
			write(t, c.ssh("more"), "Host other\nPort 9\nHost box\nPort 2\nMatch all\nUser u\n")
			write(t, c.ssh("config"), strings.ReplaceAll(config, "DIR", c.ssh("")))
			for _, host := range []string{"box", "BOX"} {
				got, err := c.resolve(Config{Address: host})
				must(t, err)
				want, is := sshSays(t, c.ssh("config"), host), renewerSays(c, got, host)
				for _, key := range reached {
					if want[key] != is[key] && !usual(key, want[key], is[key]) {
						t.Errorf("%s: %s is %q, ssh(1) says %q", host, key, is[key], want[key])
					}
				}
			}
		})
	}
}

// usual reports whether both say what they do without a line for it.
func usual(key, ssh, renewer string) bool {
	switch key {
	case "identityfile": // of kinds that need a device, or are gone
		return strings.HasPrefix(ssh, "~/.ssh/id_rsa ~/.ssh/id_ecdsa") && renewer == "~/.ssh/id_rsa ~/.ssh/id_ecdsa ~/.ssh/id_ed25519"
	case "userknownhostsfile":
		return ssh == "none" && renewer == ""
	case "globalknownhostsfile":
		return ssh == "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2" && renewer == "~/none ~/none2"
	case "identityagent":
		return ssh == "" && renewer == "SSH_AUTH_SOCK" || ssh == "none" && renewer == ""
	case "certificatefile", "proxycommand", "proxyjump":
		return ssh == "none" && renewer == ""
	}
	return false
}

// The tokens of ssh_config(5) mean what they mean to ssh(1).
func TestTokensAreThoseOfSSH(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("OpenSSH's client is not installed")
	}
	for name, config := range map[string]string{
		"plain":   "",
		"named":   "HostName %h.example\nPort 7\nUser u\n",
		"aliased": "HostKeyAlias other\nHostName x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t)
			said := filepath.Join(t.TempDir(), "said")
			write(t, c.ssh("config"), config+"Match exec \"echo %h %n %p %r %u %i %k %l %L %C %% >>"+said+"\"\n")
			sshSays(t, c.ssh("config"), "box")
			_, err := c.resolve(Config{Address: "box"})
			must(t, err)
			data, err := os.ReadFile(said)
			must(t, err)
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			if len(lines) != 2 || lines[0] != lines[1] {
				t.Errorf("ssh(1) and renewer say\n%s", data)
			}
		})
	}
}
