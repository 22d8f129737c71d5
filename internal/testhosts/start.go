package testhosts

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// bootTimeout is for a busy machine; a boot takes two seconds.
const bootTimeout = 90 * time.Second

// User is the login of every host. It may do everything through sudo.
const User = "renewer"

// Host is one machine. Its methods may be called at the same time.
type Host struct {
	Name string // also its hostname
	Login

	site  *controller
	id    string // of its directory, cgroup, network namespace and link
	dir   string
	mutex sync.Mutex
	boot  *boot // nil while it is off; under mutex
}

// number counts the hosts of this process: no two have the same address.
var number atomic.Int32

// Start boots hosts of the names given, and returns when all of them have
// finished booting: sshd and dockerd then answer. They end with the test; if it
// failed, the last lines of their journals are logged.
func Start(t testing.TB, names ...string) []*Host {
	t.Helper()
	if site == nil {
		t.Fatal("TestMain has to call testhosts.Main")
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	// Not t.TempDir: that is on disk, and ssh wants the key to be root's.
	shared, err := os.MkdirTemp("/run", "ssh-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	hosts, err := makeHosts(site, shared, names)
	for _, h := range hosts {
		t.Cleanup(func() {
			if t.Failed() {
				h.logJournal(t)
			}
			if err := h.remove(); err != nil {
				t.Errorf("remove %s: %v", h.Name, err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	var booting errgroup.Group
	for _, h := range hosts {
		booting.Go(func() error {
			if err := h.create(ctx); err != nil {
				return fmt.Errorf("create %s: %w", h.Name, err)
			}
			return h.PowerOn(ctx)
		})
	}
	if err := booting.Wait(); err != nil {
		t.Fatal(err)
	}
	return hosts
}

// makeHosts gives hosts their addresses, keys and files; nothing runs yet.
func makeHosts(site *controller, shared string, names []string) ([]*Host, error) {
	identity, login, err := newKey()
	if err != nil {
		return nil, err
	}
	identityFile, knownHosts := filepath.Join(shared, "id_ed25519"), filepath.Join(shared, "known_hosts")
	if err := os.WriteFile(identityFile, identity, 0o600); err != nil {
		return nil, err
	}
	var hosts []*Host
	var etcHosts, known []byte
	hostKeys := make([][]byte, len(names))
	for i, name := range names {
		n := number.Add(1)
		if n > 200 {
			return nil, errors.New("no address is left for another host")
		}
		id := fmt.Sprintf("host%d", n)
		h := &Host{
			Name:  name,
			Login: Login{Address: fmt.Sprintf("10.77.0.%d", 10+n), KnownHosts: knownHosts, IdentityFile: identityFile},
			site:  site, id: id, dir: filepath.Join(hostsDir, id),
		}
		key, public, err := newKey()
		if err != nil {
			return nil, err
		}
		hostKeys[i] = key
		known = fmt.Appendf(known, "%s %s", h.Address, public)
		etcHosts = fmt.Appendf(etcHosts, "%s %s\n", h.Address, name)
		hosts = append(hosts, h)
	}
	if err := os.WriteFile(knownHosts, known, 0o600); err != nil {
		return nil, err
	}
	for i, h := range hosts {
		if err := h.furnish(login, hostKeys[i], etcHosts); err != nil {
			return hosts[:i+1], fmt.Errorf("furnish %s: %w", h.Name, err)
		}
	}
	return hosts, nil
}

// newKey returns a private key and the line of its public one, as OpenSSH
// keeps them.
func newKey() (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(line), nil
}
