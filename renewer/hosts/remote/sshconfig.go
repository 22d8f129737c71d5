package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// target is where a connection goes: what the fleet file says, and where it
// says nothing, what ~/.ssh/config and /etc/ssh/ssh_config do (ssh_config(5)).
type target struct {
	host, port    string
	user          string
	alias         string // HostKeyAlias: the name that known_hosts has, whatever the port
	identities    []string
	certificates  []string // files of CertificateFile
	identityGiven bool     // by the fleet file: it must be there
	onlyThese     bool     // IdentitiesOnly: of the agent's keys only these
	agent         string   // socket of ssh-agent(1)
	known         []string // files of known hosts
	userKnown     int      // so many of them are the user's
	jumps         []string // to be made first, [user@]host[:port] each
	command       string   // that is the stream to the host
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

// defaultIdentities are tried where nothing names a key (ssh(1), -i), as far as
// their kind can be used without a person.
var defaultIdentities = []string{"id_rsa", "id_ecdsa", "id_ed25519"}

func (c *Client) resolve(cfg Config) (target, error) {
	s := settings{c: c, alias: cfg.Address, user: cfg.User, values: map[string][]directive{}, told: c.notDone}
	s.read(c.readConfig(c.ssh("config")), c.readConfig(c.allConfig))
	c.tellNotDone(s)
	t := target{
		host: strings.ToLower(s.host()), port: firstOf(s.first("port"), "22"), user: firstOf(cfg.User, s.first("user"), c.account),
		agent: c.agentSocket(s), onlyThese: strings.EqualFold(s.first("identitiesonly"), "yes"),
	}
	if cfg.Port != 0 {
		t.port = strconv.Itoa(cfg.Port)
	}
	t.alias = s.keyAlias()
	in := s.tokens(t)
	files := func(key string) (out []string) {
		for _, d := range s.values[key] {
			for _, name := range d.args[:min(1, len(d.args))] {
				if name = c.homed(in.Replace(name)); !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
		return out
	}
	t.certificates = files("certificatefile")
	if cfg.IdentityFile != "" {
		t.identities, t.identityGiven, t.onlyThese = []string{cfg.IdentityFile}, true, true
	} else if t.identities = files("identityfile"); len(t.identities) == 0 {
		for _, name := range defaultIdentities {
			t.identities = append(t.identities, c.ssh(name))
		}
	}
	t.known, t.userKnown = c.knownFiles(cfg, s, in)
	if proxy := s.values["proxy"]; cfg.Jump == nil && len(proxy) > 0 && !strings.EqualFold(proxy[0].rest, "none") {
		if proxy[0].key == "proxycommand" {
			t.command = in.Replace(proxy[0].rest)
		} else {
			t.jumps = strings.Split(proxy[0].rest, ",")
		}
	}
	return t, nil
}

// readConfig returns the lines of a file. What cannot be read is told and
// stops nobody: everything can be said in the fleet file.
func (c *Client) readConfig(file string) []directive {
	lines, err := c.sshConfig.get(file, c.readSSHConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log.Warn("ssh configuration is not used", "file", file, "error", err)
	}
	return lines
}

// agentSocket: IdentityAgent comes before SSH_AUTH_SOCK.
func (c *Client) agentSocket(s settings) string {
	switch name := s.first("identityagent"); {
	case name == "", name == "SSH_AUTH_SOCK":
		return c.Agent
	case strings.EqualFold(name, "none"):
		return ""
	case strings.HasPrefix(name, "$"):
		return os.Getenv(strings.Trim(name, "${}"))
	default:
		return c.homed(s.expand(name))
	}
}

// knownFiles are the files of known hosts, the one that a new line belongs
// into first. The first few are the user's.
func (c *Client) knownFiles(cfg Config, s settings, in *strings.Replacer) (files []string, own int) {
	if cfg.KnownHostsFile != "" {
		return []string{cfg.KnownHostsFile}, 1
	}
	of := func(key string, usual ...string) []string {
		all := s.values[key]
		if len(all) == 0 {
			return usual
		}
		var out []string
		for _, name := range all[0].args {
			if !strings.EqualFold(name, "none") {
				out = append(out, c.homed(in.Replace(name)))
			}
		}
		return out
	}
	files = of("userknownhostsfile", c.ssh("known_hosts"), c.ssh("known_hosts2"))
	return append(files, of("globalknownhostsfile", c.allHosts, c.allHosts+"2")...), len(files)
}

// undone are keys of ssh_config(5) that change how a host is reached or
// known, and that are not done here.
var undone = []string{
	"bindaddress", "bindinterface", "canonicalizehostname", "knownhostscommand", "pkcs11provider", "proxyusefdpass", "revokedhostkeys", "securitykeyprovider",
}

func (c *Client) tellNotDone(s settings) {
	for _, key := range undone {
		for _, d := range s.values[key] {
			if len(d.args) > 0 && !strings.EqualFold(d.args[0], "no") && !strings.EqualFold(d.args[0], "none") {
				c.notDone(d.key, d.at)
			}
		}
	}
}

// notDone tells once what ssh(1) would do and renewer does not.
func (c *Client) notDone(what, at string) {
	if _, told := c.told.LoadOrStore(what+at, true); !told {
		c.Log.Warn("ssh configuration has what renewer does not do; it goes on without", "key", what, "line", at)
	}
}

// proxyJump is the transport of the last of the hosts that ProxyJump names;
// it goes over those before it.
func (c *Client) proxyJump(jumps []string, depth int) (*Transport, error) {
	const deepest = 8
	last := strings.TrimPrefix(strings.TrimSpace(jumps[len(jumps)-1]), "ssh://")
	if depth > deepest {
		return nil, misconfigured(fmt.Errorf("too many jumps, the last of them over %s", last), "ProxyJump in "+c.ssh("config")+" may lead in a circle; set jump: in the fleet file")
	}
	cfg := Config{Name: last, depth: depth}
	if user, rest, ok := strings.Cut(last, "@"); ok {
		cfg.User, last = user, rest
	}
	cfg.Address = last
	if host, port, err := net.SplitHostPort(last); err == nil {
		cfg.Address = host
		if cfg.Port, err = strconv.Atoi(port); err != nil {
			return nil, misconfigured(fmt.Errorf("ProxyJump %s: the port is no number", last), "correct it in "+c.ssh("config"))
		}
	}
	if before := jumps[:len(jumps)-1]; len(before) > 0 {
		jump, err := c.proxyJump(before, depth+1)
		if err != nil {
			return nil, err
		}
		cfg.Jump, cfg.ownJump = jump, true
	}
	return c.Transport(cfg), nil
}
