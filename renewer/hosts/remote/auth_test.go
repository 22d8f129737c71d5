package remote

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"renewer/internal/testssh"
)

// runAgent is an ssh-agent with keys.
func runAgent(t *testing.T, keys ...*testssh.Key) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		must(t, ring.Add(agent.AddedKey{PrivateKey: k.Raw}))
	}
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	must(t, err)
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, c) // until the client hangs up
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; os.RemoveAll(dir) })
	return socket
}

func encrypted(t *testing.T, k *testssh.Key) (file string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKeyWithPassphrase(k.Raw, "", []byte("secret"))
	must(t, err)
	file = filepath.Join(t.TempDir(), "id")
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	stranger := testssh.NewKey(t)
	open := testssh.NewKey(t)
	must(t, os.Chmod(open.File, 0o644))
	public := filepath.Join(t.TempDir(), "id.pub")
	must(t, os.WriteFile(public, ssh.MarshalAuthorizedKey(s.Login.Signer.PublicKey()), 0o644))
	for name, c := range map[string]struct {
		file  string
		agent []*testssh.Key // nil: no agent
		err   string         // empty: login succeeds
		hint  string
	}{
		"identity file":                 {s.Login.File, nil, "", ""},
		"agent":                         {"", []*testssh.Key{stranger, s.Login}, "", ""},
		"encrypted, agent has it":       {encrypted(t, s.Login), []*testssh.Key{stranger, s.Login}, "", ""},
		"encrypted, no agent":           {encrypted(t, s.Login), nil, "is encrypted", "ssh-add"},
		"encrypted, another agent":      {encrypted(t, s.Login), []*testssh.Key{stranger}, "is encrypted", "ssh-add"},
		"nothing":                       {"", nil, "no key to log in with", "identity_file"},
		"agent without keys":            {"", []*testssh.Key{}, "ssh-agent has none", "ssh-add"},
		"another key":                   {stranger.File, nil, "login as user renewer failed with SHA256:", "authorized_keys"},
		"missing":                       {"/no/such/file", nil, "identity file", "identity_file"},
		"readable by others":            {open.File, nil, "has mode 0644", "chmod 0600"},
		"the public half":               {public, nil, "is a public key", "not the .pub"},
		"the public half, with others":  {public, []*testssh.Key{stranger}, "ssh-agent does not have the private one", "ssh-add"},
		"the public half, agent has it": {public, []*testssh.Key{stranger, s.Login}, "", ""},
		"open to others, agent has it":  {open.File, []*testssh.Key{s.Login, open}, "login as user", "authorized_keys"},
		"the .pub alone is there":       {strings.TrimSuffix(public, ".pub"), []*testssh.Key{stranger, s.Login}, "", ""},
		"the agent has another key":     {"", []*testssh.Key{stranger}, "login as user", "authorized_keys"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t, func(o *Options) {
				if c.agent != nil {
					o.Agent = runAgent(t, c.agent...)
				}
			})
			cfg := config(t, s)
			cfg.IdentityFile = c.file
			err := oneRun(t, reach(t, cl, cfg))
			if c.err == "" {
				must(t, err)
				return
			}
			refused(t, err, c.err, c.hint)
		})
	}
}

func TestAgentThatIsGone(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	cfg := config(t, s)
	cfg.IdentityFile = ""
	cl := client(t, func(o *Options) { o.Agent = filepath.Join(t.TempDir(), "gone") })
	refused(t, oneRun(t, reach(t, cl, cfg)), "ssh-agent", "SSH_AUTH_SOCK")
}

// Nothing is signed with SHA-1: an RSA key offers SHA-2 alone.
func TestRSAWithoutSHA1(t *testing.T) {
	t.Parallel()
	raw, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(raw)
	must(t, err)
	many, ok := withoutSHA1(signer).(ssh.MultiAlgorithmSigner)
	if !ok {
		t.Fatal("it signs with whatever it is asked for")
	}
	if slices.Contains(many.Algorithms(), ssh.KeyAlgoRSA) {
		t.Error("it signs with SHA-1")
	}
}

// A second factor is explained by what the host asks; one that is waived is
// none.
func TestSecondFactor(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{Questions: []string{}})
	must(t, oneRun(t, tr))
	_, tr = host(t, testssh.Options{Questions: []string{"Verification \x1b[31mcode: "}, Banner: "Only for staff.\r\n"})
	err := oneRun(t, tr)
	refused(t, err, "the host accepted the key of user renewer and requires another factor: keyboard-interactive (Verification", "AuthenticationMethods publickey")
	if text := err.Error(); !strings.Contains(text, "Only for staff.") || strings.Contains(text, "\x1b") {
		t.Errorf("error %q", text)
	}
}

// userCertificate is key signed by ca, beside the file of key.
func userCertificate(t *testing.T, ca ssh.Signer, key *testssh.Key, file string) {
	t.Helper()
	c := &ssh.Certificate{Key: key.Signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{testssh.User}, ValidBefore: ssh.CertTimeInfinity}
	must(t, c.SignCert(rand.Reader, ca))
	must(t, os.WriteFile(file, ssh.MarshalAuthorizedKey(c), 0o600))
}

func TestUserCertificate(t *testing.T) {
	t.Parallel()
	ca := testssh.NewKey(t).Signer
	s := testssh.Start(t, testssh.Options{Authority: ca.PublicKey()})
	own := testssh.NewKey(t)
	cfg := config(t, s)
	cfg.IdentityFile = own.File
	refused(t, oneRun(t, reach(t, client(t), cfg)), "login as user", "authorized_keys")
	userCertificate(t, ca, own, own.File+"-cert.pub")
	must(t, oneRun(t, reach(t, client(t), cfg)))
	must(t, os.WriteFile(own.File+"-cert.pub", []byte("ssh-ed25519-cert-v01@openssh.com AAAA\n"), 0o600))
	refused(t, oneRun(t, reach(t, client(t), cfg)), "login as user", "authorized_keys")

	// CertificateFile, and a key that the agent has.
	cl := client(t, func(o *Options) { o.Agent = runAgent(t, own) })
	userCertificate(t, ca, own, filepath.Join(cl.Home, "staff-cert.pub"))
	write(t, cl.ssh("config"), "CertificateFile ~/staff-cert.pub\n")
	cfg.IdentityFile = ""
	must(t, oneRun(t, reach(t, cl, cfg)))
}

// What a host refuses a certificate for, it does not say; what can be seen in it is.
func TestUserCertificateThatIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, own := testssh.NewKey(t).Signer, testssh.NewKey(t)
	authority := filepath.Join(t.TempDir(), "ca.pub")
	must(t, os.WriteFile(authority, ssh.MarshalAuthorizedKey(ca.PublicKey()), 0o644))
	cfg := sshd(t, "TrustedUserCAKeys "+authority, "KbdInteractiveAuthentication yes")
	cfg.IdentityFile = own.File
	sign := func(c ssh.Certificate) {
		c.Key, c.CertType, c.KeyId = own.Signer.PublicKey(), ssh.UserCert, "fleet"
		must(t, c.SignCert(rand.Reader, ca))
		must(t, os.WriteFile(own.File+"-cert.pub", ssh.MarshalAuthorizedKey(&c), 0o600))
	}
	day := uint64(24 * time.Hour / time.Second)
	today := uint64(now.Unix())
	for _, c := range []struct {
		cert      ssh.Certificate
		err, hint string
	}{
		{ssh.Certificate{ValidPrincipals: []string{cfg.User}, ValidBefore: today - day}, `certificate "fleet" expired at 2`, "-n " + cfg.User + " "},
		{ssh.Certificate{ValidPrincipals: []string{cfg.User}, ValidAfter: today + day, ValidBefore: ssh.CertTimeInfinity}, `certificate "fleet" is valid from 2`, "ssh-keygen -s"},
		{ssh.Certificate{ValidPrincipals: []string{"ops", "web"}, ValidBefore: ssh.CertTimeInfinity}, "is for ops, web, and not for " + cfg.User, "ssh-keygen -s"},
		{ssh.Certificate{ValidBefore: ssh.CertTimeInfinity}, "names no user", "ssh-keygen -s"},
	} {
		sign(c.cert)
		refused(t, oneRun(t, reach(t, client(t), cfg)), c.err, c.hint)
	}
	sign(ssh.Certificate{ValidPrincipals: []string{cfg.User}, ValidBefore: ssh.CertTimeInfinity})
	must(t, oneRun(t, reach(t, client(t), cfg)))
	other := sshd(t, "KbdInteractiveAuthentication yes")
	other.IdentityFile = own.File
	refused(t, oneRun(t, reach(t, client(t), other)), `failed with certificate "fleet" of SHA256:`, "TrustedUserCAKeys")
}

// As ssh(1): the usual files where nothing is named, a public key in place of
// the agent's, and no more of the agent's keys than allowed.
func TestIdentitiesAsInSSH(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	key, err := os.ReadFile(s.Login.File)
	must(t, err)
	public := string(ssh.MarshalAuthorizedKey(s.Login.Signer.PublicKey()))
	stranger := testssh.NewKey(t)
	for name, c := range map[string]struct {
		files map[string]string // in ~/.ssh
		agent []*testssh.Key
		err   string
	}{
		"the usual file":                       {map[string]string{"id_ed25519": string(key)}, nil, ""},
		"the usual file, agent with another":   {map[string]string{"id_ed25519": string(key)}, []*testssh.Key{stranger}, ""},
		"an unusable one before":               {map[string]string{"id_rsa": "no key", "id_ed25519": string(key)}, nil, ""},
		"named, and missing":                   {map[string]string{"config": "IdentityFile ~/.ssh/none"}, []*testssh.Key{stranger, s.Login}, ""},
		"a public key of the agent's":          {map[string]string{"config": "IdentityFile ~/.ssh/x.pub\nIdentitiesOnly yes", "x.pub": public}, []*testssh.Key{stranger, s.Login}, ""},
		"only those named":                     {map[string]string{"config": "IdentitiesOnly yes", "id_rsa": "no key"}, []*testssh.Key{s.Login}, "not a usable private key"},
		"IdentityAgent none":                   {map[string]string{"config": "IdentityAgent none"}, []*testssh.Key{s.Login}, "no key to log in with"},
		"named in the file, agent has another": {map[string]string{"config": "IdentityFile ~/.ssh/x", "x": string(key)}, []*testssh.Key{stranger}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t, func(o *Options) {
				if c.agent != nil {
					o.Agent = runAgent(t, c.agent...)
				}
			})
			for file, text := range c.files {
				write(t, cl.ssh(file), text)
			}
			cfg := config(t, s)
			cfg.IdentityFile = ""
			err := oneRun(t, reach(t, cl, cfg))
			if c.err == "" {
				must(t, err)
				return
			}
			refused(t, err, c.err, "identity_file")
		})
	}
}
