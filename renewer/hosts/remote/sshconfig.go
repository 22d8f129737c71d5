package remote

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// target is where a connection goes: what the fleet file says, and where it
// says nothing, what ~/.ssh/config does (ssh_config(5): HostName, Port, User,
// IdentityFile, HostKeyAlias, ProxyJump).
type target struct {
	host, port    string
	user          string
	keyName       string // under which known_hosts has the host
	identities    []string
	identityGiven bool     // by the fleet file: it must be there
	jumps         []string // to be made first, [user@]host[:port] each
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

func (c *Client) resolve(cfg Config) (target, error) {
	alias := cfg.Address
	get := func(string) string { return "" }
	var all func(string) []string
	file, err := c.sshConfig.get(c.ssh("config"), readSSHConfig)
	switch {
	case err == nil:
		get = func(key string) string { v, _ := file.Get(alias, key); return v } // there is no error once it is read
		all = func(key string) []string { v, _ := file.GetAll(alias, key); return v }
	case !errors.Is(err, fs.ErrNotExist):
		// Everything can be said in the fleet file, so this stops nobody.
		c.Log.Warn("ssh configuration is not used", "file", c.ssh("config"), "error", err)
	}
	t := target{host: alias, port: cmp.Or(get("Port"), "22"), user: cmp.Or(cfg.User, get("User"), c.account)}
	if name := get("HostName"); name != "" {
		t.host = strings.NewReplacer("%%", "%", "%h", alias).Replace(name)
	}
	if cfg.Port != 0 {
		t.port = strconv.Itoa(cfg.Port)
	}
	t.keyName = cmp.Or(get("HostKeyAlias"), t.host)
	if cfg.IdentityFile != "" {
		t.identities, t.identityGiven = []string{cfg.IdentityFile}, true
	} else if all != nil {
		in := strings.NewReplacer("%%", "%", "%d", c.Home, "%h", t.host, "%n", alias, "%p", t.port, "%r", t.user, "%u", c.account)
		for _, name := range all("IdentityFile") {
			name = in.Replace(name)
			if rest, ok := strings.CutPrefix(name, "~/"); ok {
				name = filepath.Join(c.Home, rest)
			}
			t.identities = append(t.identities, name)
		}
	}
	if jumps := get("ProxyJump"); cfg.Jump == nil && jumps != "" && jumps != "none" {
		t.jumps = strings.Split(jumps, ",")
	}
	return t, nil
}

func readSSHConfig(file string) (*ssh_config.Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh_config.DecodeBytes(data)
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
