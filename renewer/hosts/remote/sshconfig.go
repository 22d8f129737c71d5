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

	"renewer/renewer"
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
	revoked       string   // RevokedHostKeys
	askHosts      *hostsCommand
	jumps         []string // to be made first, [user@]host[:port] each
	command       string   // that is the stream to the host
	network       string   // tcp, or one of its families
	bind          string   // BindAddress
	unset         []error  // values with a variable that is not set
	undone        []string // what ssh(1) would do and renewer does not
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

// defaultIdentities are tried where nothing names a key (ssh(1), -i), as far as
// their kind can be used without an operator.
var defaultIdentities = []string{"id_rsa", "id_ecdsa", "id_ed25519"}

func (c *Client) resolve(cfg Config) (target, error) {
	s := settings{c: c, alias: cfg.Address, user: cfg.User, values: map[string][]directive{}, jumps: cfg.Jump != nil}
	if err := s.read(c.readConfig(c.ssh("config")), c.readConfig(c.allConfig)); err != nil {
		return target{}, err
	}
	s.tellNotDone()
	t := target{
		host: strings.ToLower(s.host()), port: firstOf(s.first("port"), "22"), user: firstOf(cfg.User, s.first("user"), c.account),
		onlyThese: strings.EqualFold(s.first("identitiesonly"), "yes"), bind: s.first("bindaddress"), network: network(s.first("addressfamily")), undone: s.undone,
	}
	if cfg.Port != 0 {
		t.port = strconv.Itoa(cfg.Port)
	}
	t.alias = s.keyAlias()
	in := s.tokens(t)
	fill := func(value string) (string, bool) {
		name, err := c.filled(value, in)
		if err != nil {
			t.unset = append(t.unset, err)
		}
		return name, err == nil
	}
	files := func(key string) (out []string) {
		for _, d := range s.values[key] {
			for _, value := range d.args[:min(1, len(d.args))] {
				if name, ok := fill(value); ok && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
		return out
	}
	t.agent = c.agentSocket(s.first("identityagent"), fill)
	t.certificates = files("certificatefile")
	if cfg.IdentityFile != "" {
		t.identities, t.identityGiven, t.onlyThese = []string{cfg.IdentityFile}, true, true
	} else if t.identities = files("identityfile"); len(s.values["identityfile"]) == 0 {
		t.identities = c.usualIdentities()
	}
	t.known, t.userKnown = c.knownFiles(cfg, s, fill)
	if file := s.first("revokedhostkeys"); file != "" && !strings.EqualFold(file, "none") {
		var ok bool
		if t.revoked, ok = fill(file); !ok { // then ssh(1) knows no host either
			return target{}, misconfigured(fmt.Errorf("RevokedHostKeys %w", t.unset[len(t.unset)-1]), "set the variable for renewer, or write the full path")
		}
	}
	if d := s.values["knownhostscommand"]; cfg.KnownHostsFile == "" && len(d) > 0 && !strings.EqualFold(d[0].rest, "none") {
		t.askHosts = &hostsCommand{c: c, argv: d[0].args, at: d[0].at, tokens: s.tokenPairs(t)}
	}
	if proxy := s.values["proxy"]; s.indirect() && cfg.Jump == nil {
		if proxy[0].key == "proxycommand" {
			t.command = in.Replace(proxy[0].rest)
		} else {
			t.jumps = strings.Split(in.Replace(proxy[0].rest), ",")
		}
	}
	return t, nil
}

func (c *Client) usualIdentities() (out []string) {
	for _, name := range defaultIdentities {
		out = append(out, c.ssh(name))
	}
	return out
}

// network is what AddressFamily leaves of TCP.
func network(family string) string {
	return map[string]string{"inet": "tcp4", "inet6": "tcp6"}[strings.ToLower(family)]
}

// readConfig returns the lines of a file. What cannot be read is logged and
// stops no one: everything can be said in the fleet file.
func (c *Client) readConfig(file string) []directive {
	lines, err := c.sshConfig.get(file, c.readSSHConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log.Warn("ssh configuration is ignored", "file", file, "error", err)
	}
	return lines
}

// agentSocket: IdentityAgent comes before SSH_AUTH_SOCK.
func (c *Client) agentSocket(value string, fill func(string) (string, bool)) string {
	switch {
	case value == "", value == "SSH_AUTH_SOCK":
		return c.Agent
	case strings.EqualFold(value, "none"):
		return ""
	}
	if variable, ok := strings.CutPrefix(value, "$"); ok && !strings.HasPrefix(variable, "{") {
		return os.Getenv(variable)
	}
	socket, _ := fill(value)
	return socket
}

// knownFiles are the files of known hosts, the one that a new line belongs
// into first. The first few are the user's.
func (c *Client) knownFiles(cfg Config, s settings, fill func(string) (string, bool)) (files []string, own int) {
	if cfg.KnownHostsFile != "" {
		return []string{cfg.KnownHostsFile}, 1
	}
	of := func(key string, fill func(string) (string, bool), usual ...string) []string {
		if len(s.values[key]) == 0 {
			return usual
		}
		var out []string
		for _, name := range s.all(key) {
			if strings.EqualFold(name, "none") {
				continue
			}
			if name, ok := fill(name); ok {
				out = append(out, name)
			}
		}
		return out
	}
	files = of("userknownhostsfile", fill, c.ssh("known_hosts"), c.ssh("known_hosts2"))
	homed := func(name string) (string, bool) { return c.homed(name), true } // no tokens here
	return append(files, of("globalknownhostsfile", homed, c.allHosts, c.allHosts+"2")...), len(files)
}

// undone are keys of ssh_config(5) that change how a host is reached or
// known, and that are not done here.
var undone = []string{"bindinterface", "pkcs11provider", "proxyusefdpass", "verifyhostkeydns"}

func (s *settings) tellNotDone() {
	for _, key := range undone {
		for _, d := range s.values[key] {
			if len(d.args) > 0 && !strings.EqualFold(d.args[0], "no") && !strings.EqualFold(d.args[0], "none") {
				s.notDone(d.key, d.at)
			}
		}
	}
}

// notDone notes, and tells once, what ssh(1) would do and renewer does not.
func (s *settings) notDone(what, at string) {
	if what = what + " (" + at + ")"; slices.Contains(s.undone, what) {
		return
	}
	s.undone = append(s.undone, what)
	if _, told := s.c.told.LoadOrStore(what, true); !told {
		s.c.Log.Warn("ssh configuration has unsupported settings; they are ignored", "what", what)
	}
}

// without says in an error of the way to a host what of its ssh configuration was not done.
func (t target) without(err error) error {
	if err == nil || len(t.undone) == 0 {
		return err
	}
	return renewer.WithHint(fmt.Errorf("%w; renewer does not support this setting of the ssh configuration: %s", err, strings.Join(t.undone, ", ")),
		firstOf(renewer.Hint(err), "set it in the fleet file: address:, port:, user:, identity_file:, known_hosts_file: and jump: of the host override the ssh configuration"))
}

// proxyJump is the transport of the last of the hosts that ProxyJump names;
// it goes over those before it.
func (c *Client) proxyJump(jumps []string, depth int) (*Transport, error) {
	const deepest = 8
	last := strings.TrimPrefix(strings.TrimSpace(jumps[len(jumps)-1]), "ssh://")
	if depth > deepest {
		return nil, misconfigured(fmt.Errorf("too many jump hosts, the last is %s", last), "ProxyJump in "+c.ssh("config")+" may form a loop; set jump: in the fleet file")
	}
	cfg := Config{Name: last, depth: depth}
	if user, rest, ok := strings.Cut(last, "@"); ok {
		cfg.User, last = user, rest
	}
	cfg.Address = last
	if host, port, err := net.SplitHostPort(last); err == nil {
		cfg.Address = host
		if cfg.Port, err = strconv.Atoi(port); err != nil {
			return nil, misconfigured(fmt.Errorf("ProxyJump %s: the port is not a number", last), "correct it in "+c.ssh("config"))
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
