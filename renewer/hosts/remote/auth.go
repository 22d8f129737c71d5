package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// keyLimit bounds an identity file.
const keyLimit = 64 << 10

// login finds the keys to log in with, in the order of ssh(1): those that are
// named before the others of the agent, and each with its certificates first.
// A file stands for its key in the agent, if the agent has that. skipped says what was
// named and cannot be used. hangUp ends what is needed while logging in.
func (c *Client) login(ctx context.Context, t target) (keys []ssh.Signer, skipped []error, hangUp func(), err error) {
	held, hangUp, agentErr := askAgent(ctx, t.agent)
	var named []ssh.Signer
	skipped = t.unset
	usual := c.usualIdentities()
	for _, file := range t.identities {
		key, err := identity(file, held)
		switch {
		case err == nil:
			named = append(named, key)
		case t.identityGiven:
			hangUp()
			return nil, nil, nil, err
		case errors.Is(err, fs.ErrNotExist) && (file == "none" || slices.Contains(usual, file)): // as every account
		default: // as ssh(1) does with what its configuration names
			skipped = append(skipped, err)
		}
	}
	keys = named
	if !t.onlyThese {
		for _, key := range held {
			if find(named, key.PublicKey()) == nil {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		hangUp()
		if agentErr == nil && len(held) > 0 {
			agentErr = fmt.Errorf("ssh-agent has %d, but IdentitiesOnly allows only the files that are named", len(held))
		}
		return nil, nil, nil, noKey(agentErr, skipped)
	}
	for i, key := range keys {
		keys[i] = withoutSHA1(key)
	}
	return append(certified(keys, t), keys...), skipped, hangUp, nil
}

func noKey(agentErr error, skipped []error) error {
	hint := "set identity_file:, or start ssh-agent, add a key, and set SSH_AUTH_SOCK for renewer"
	why := agentErr
	if why == nil {
		why, hint = errors.New("ssh-agent has none"), "run ssh-add FILE, or set identity_file:"
	}
	if len(skipped) > 0 {
		hint = cmp.Or(renewer.Hint(skipped[0]), hint)
	}
	return misconfigured(fmt.Errorf("no key to log in with: %w", listed(append(slices.Clip(skipped), why))), hint)
}

// listed are errors in one line.
func listed(errs []error) error {
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}

// askAgent returns the keys of an ssh-agent(1), which are used until hangUp.
func askAgent(ctx context.Context, socket string) (held []ssh.Signer, hangUp func(), err error) {
	hangUp = func() {}
	if socket == "" {
		return nil, hangUp, errors.New("no ssh-agent: SSH_AUTH_SOCK is not set")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, hangUp, fmt.Errorf("ssh-agent: %w", err)
	}
	held, err = await(ctx, agent.NewClient(conn).Signers, nil)
	if err != nil {
		_ = conn.Close()
		return nil, hangUp, fmt.Errorf("ssh-agent: %w", err)
	}
	return held, func() { _ = conn.Close() }, nil
}

// identity is the key of a file, or the one of the agent that it stands for: then the file
// need not be more than the public key, nor be there where the one with .pub is.
func identity(file string, held []ssh.Signer) (ssh.Signer, error) {
	public := publicKey(file)
	if len(held) > 0 {
		for _, public := range []ssh.PublicKey{public, publicHalf(file), publicKey(file + ".pub")} {
			if key := find(held, public); key != nil {
				return key, nil
			}
		}
	}
	if public != nil {
		return nil, misconfigured(fmt.Errorf("identity file %s is a public key, and ssh-agent does not have the private one", file),
			fmt.Sprintf("run ssh-add %s for the agent at SSH_AUTH_SOCK, or name the private key (not the .pub)", strings.TrimSuffix(file, ".pub")))
	}
	key, err := readIdentity(file)
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		return nil, misconfigured(fmt.Errorf("identity file %s is encrypted and ssh-agent does not have its key: %w", file, err),
			"run ssh-add "+file+" for the agent at SSH_AUTH_SOCK, or use a key without passphrase that only renewer can read")
	}
	return key, err
}

// publicKey reads a public key, or a certificate, as ssh-keygen(1) writes it;
// nil if there is none.
func publicKey(file string) ssh.PublicKey {
	data, err := readKey(file)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil
	}
	return key
}

// publicHalf is that of a private key, as far as it is known without a passphrase.
func publicHalf(file string) ssh.PublicKey {
	data, err := readKey(file)
	if err != nil {
		return nil
	}
	defer clear(data)
	key, err := ssh.ParsePrivateKey(data)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return key.PublicKey()
	case errors.As(err, &encrypted):
		return encrypted.PublicKey
	}
	return nil
}

// openFile opens a file that ssh(1) would read: a regular one, or /dev/null, which stands
// for none.
func openFile(file string) (*os.File, error) {
	if file == os.DevNull {
		return os.Open(file)
	}
	return atomicfile.Open(file)
}

// readFile is openFile for a whole file.
func readFile(file string) ([]byte, error) {
	f, err := openFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fileLimit))
}

func readKey(file string) ([]byte, error) {
	f, err := openFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, keyLimit))
}

// certified returns signers for the user certificates that belong to keys:
// those of CertificateFile, and FILE-cert.pub beside each identity.
func certified(keys []ssh.Signer, t target) (out []ssh.Signer) {
	files := t.certificates
	for _, file := range t.identities {
		files = append(files, strings.TrimSuffix(file, ".pub")+"-cert.pub")
	}
	for _, file := range files {
		cert, ok := publicKey(file).(*ssh.Certificate)
		if !ok || cert.CertType != ssh.UserCert {
			continue
		}
		if key := find(keys, cert.Key); key != nil {
			if s, err := ssh.NewCertSigner(cert, key); err == nil {
				out = append(out, s)
			}
		}
	}
	return out
}

func find(held []ssh.Signer, want ssh.PublicKey) ssh.Signer {
	for _, key := range held {
		if want != nil && string(key.PublicKey().Marshal()) == string(want.Marshal()) {
			return key
		}
	}
	return nil
}

// withoutSHA1 keeps an RSA key from signing with SHA-1.
func withoutSHA1(key ssh.Signer) ssh.Signer {
	if s, ok := key.(ssh.AlgorithmSigner); ok && key.PublicKey().Type() == ssh.KeyAlgoRSA {
		if s, err := ssh.NewSignerWithAlgorithms(s, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}); err == nil {
			return s
		}
	}
	return key
}

var errNoPrivateKey = errors.New("not a usable private key")

// readIdentity reads a private key. One of ours that others can read is
// refused, as ssh(1) does.
func readIdentity(file string) (ssh.Signer, error) {
	f, err := openFile(file)
	if err != nil {
		return nil, misconfigured(fmt.Errorf("identity file: %w", err), "set identity_file: to a private key that renewer can read")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 != 0 {
		return nil, misconfigured(fmt.Errorf("identity file %s has mode %04o: other users can read or replace it", file, info.Mode().Perm()), "chmod 0600 "+file)
	}
	data, err := io.ReadAll(io.LimitReader(f, keyLimit))
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	defer clear(data)
	key, err := ssh.ParsePrivateKey(data)
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		return nil, err
	}
	if err != nil {
		return nil, misconfigured(fmt.Errorf("identity file %s: %w", file, errNoPrivateKey), "set identity_file: to a private key as ssh-keygen writes it, not to the .pub")
	}
	return key, nil
}
