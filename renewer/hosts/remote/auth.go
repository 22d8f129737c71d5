package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyLimit bounds an identity file.
const keyLimit = 64 << 10

// login finds the keys to log in with: identity files, else all of the agent.
// An encrypted file stands for its key in the agent. hangUp ends what is
// needed while logging in.
func (c *Client) login(ctx context.Context, t target) (keys []ssh.Signer, hangUp func(), err error) {
	hangUp = func() {}
	var held []ssh.Signer // by the agent
	ask := func() error {
		if c.Agent == "" {
			return errors.New("there is no ssh-agent (SSH_AUTH_SOCK is not set)")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Agent)
		if err != nil {
			return fmt.Errorf("ssh-agent: %w", err)
		}
		hangUp = func() { _ = conn.Close() }
		held, err = await(ctx, agent.NewClient(conn).Signers, nil)
		if err != nil {
			return fmt.Errorf("ssh-agent: %w", err)
		}
		return nil
	}
	for _, file := range t.identities {
		key, err := readIdentity(file)
		var encrypted *ssh.PassphraseMissingError
		switch {
		case errors.Is(err, fs.ErrNotExist) && !t.identityGiven:
			continue // as ssh(1) does with what its configuration names
		case errors.As(err, &encrypted):
			if held == nil {
				err = errors.Join(err, ask())
			}
			if key = find(held, encrypted.PublicKey); key == nil {
				hangUp()
				return nil, nil, misconfigured(fmt.Errorf("identity file %s is encrypted and ssh-agent does not have its key: %w", file, err),
					"run ssh-add "+file+" for the agent at SSH_AUTH_SOCK, or use a key without passphrase that only renewer can read")
			}
		case err != nil:
			hangUp()
			return nil, nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		if err := ask(); err != nil {
			hangUp()
			return nil, nil, misconfigured(fmt.Errorf("no key to log in with: %w", err), "set identity_file:, or start ssh-agent, add a key, and set SSH_AUTH_SOCK for renewer")
		}
		if keys = held; len(keys) == 0 {
			hangUp()
			return nil, nil, misconfigured(errors.New("no key to log in with: ssh-agent holds none"), "run ssh-add FILE, or set identity_file:")
		}
	}
	for i, key := range keys {
		keys[i] = withoutSHA1(key)
	}
	return keys, hangUp, nil
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

// readIdentity reads a private key. One of ours that others can read is
// refused, as ssh(1) does.
func readIdentity(file string) (ssh.Signer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, misconfigured(fmt.Errorf("identity file: %w", err), "set identity_file: to a private key that renewer can read")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 != 0 {
		return nil, misconfigured(fmt.Errorf("identity file %s has mode %04o: others can use it", file, info.Mode().Perm()), "chmod 0600 "+file)
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
		return nil, misconfigured(fmt.Errorf("identity file %s: not a private key that can be used", file), "set identity_file: to a private key as ssh-keygen writes it, not to the .pub")
	}
	return key, nil
}
