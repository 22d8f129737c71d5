package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// hold is how long refused credentials are not offered again. Servers lock an
// AppRole out after five wrong tries within fifteen minutes.
const hold = 5 * time.Minute

// credentials identify what a login was tried with: a SHA-256.
type credentials [sha256.Size]byte

func digest(parts ...string) credentials { return sha256.Sum256(fmt.Appendf(nil, "%q", parts)) }

// logIn reads the files and logs in. With force, credentials that were refused
// a moment ago are tried again.
func (i *Issuer) logIn(ctx context.Context, force bool) (*session, error) {
	i.login.Lock()
	defer i.login.Unlock()
	c, err := i.connect(true)
	if err != nil {
		return nil, err
	}
	client, err := i.client(c, i.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	l, err := i.prepare(c)
	if err != nil {
		return nil, err
	}
	if !force && l.with == i.login.refused && i.cfg.now().Before(i.login.until) {
		return nil, i.login.err
	}
	s := &session{conn: c, client: client, secrets: l.secrets}
	s, err = l.do(ctx, s)
	var no *answered
	switch {
	case err == nil:
		i.login.refused = credentials{}
	case errors.As(err, &no) && renewer.ClassOf(err) == renewer.ClassMisconfigured:
		i.login.refused, i.login.err, i.login.until = l.with, err, i.cfg.now().Add(hold)
	}
	return s, err
}

// method is one way to log in, made ready: its files are read.
type method struct {
	with    credentials
	secrets []string
	do      func(ctx context.Context, s *session) (*session, error)
}

func (i *Issuer) prepare(c *conn) (method, error) {
	a := i.cfg.Auth
	switch a.Method {
	case "approle":
		roleID, err := i.word("role_id_file", a.RoleIDFile, false)
		if err != nil {
			return method{}, err
		}
		secretID, err := i.word("secret_id_file", a.SecretIDFile, true)
		if err != nil {
			return method{}, err
		}
		return method{with: digest(roleID, secretID), secrets: []string{secretID}, do: func(ctx context.Context, s *session) (*session, error) {
			return i.appRole(ctx, s, roleID, secretID)
		}}, nil
	case "kubernetes", "jwt":
		jwt, err := i.word("jwt_file", a.JWTFile, false) // the kubelet writes it for all in the pod
		if err != nil {
			return method{}, err
		}
		return method{with: digest(a.Role, jwt), secrets: []string{jwt}, do: func(ctx context.Context, s *session) (*session, error) {
			return i.logInWith(ctx, s, map[string]any{"role": a.Role, "jwt": jwt})
		}}, nil
	case "cert":
		return method{with: credentials(c.files), do: func(ctx context.Context, s *session) (*session, error) {
			body := map[string]any{}
			if a.Role != "" {
				body["name"] = a.Role
			}
			return i.logInWith(ctx, s, body)
		}}, nil
	default:
		token, err := i.word("token_file", a.TokenFile, true)
		if err != nil {
			return method{}, err
		}
		return method{with: digest(token), secrets: []string{token}, do: func(ctx context.Context, s *session) (*session, error) {
			s.client.SetToken(token)
			return i.lookUp(ctx, s)
		}}, nil
	}
}

// word reads a file that holds one word.
func (i *Issuer) word(key, file string, secret bool) (string, error) {
	get := i.readSecret
	if !secret {
		get = func(file string) ([]byte, error) { return atomicfile.ReadLimited(file, maxSecret) }
	}
	data, err := get(file)
	if err != nil {
		return "", i.fileError("auth."+key, err)
	}
	data = bytes.TrimSpace(data)
	switch {
	case bytes.ContainsFunc(data, func(c rune) bool { return c > '~' || c < ' ' && !unicode.IsSpace(c) }):
		return "", i.misconfigured("the file must contain one word of letters, digits and signs, in one line", "auth.%s: %s is not a text file: it is damaged, or the wrong file", key, file)
	case len(data) == 0 || bytes.ContainsAny(data, " \t\r\n"):
		return "", i.misconfigured("the file must contain one word and nothing else", "auth.%s: %s is empty, or has more than one word", key, file)
	}
	return string(data), nil
}

// appRole logs in with a role id and a secret id, which may have to be
// unwrapped first.
func (i *Issuer) appRole(ctx context.Context, s *session, roleID, secretID string) (*session, error) {
	if i.cfg.Auth.Wrapped {
		inner, err := i.unwrap(ctx, s, secretID)
		if err != nil {
			return nil, err
		}
		secretID = inner
		s.secrets = append(s.secrets, inner)
	}
	return i.logInWith(ctx, s, map[string]any{"role_id": roleID, "secret_id": secretID})
}

// unwrap exchanges a wrapping token for the secret id in it, which can be done
// once.
func (i *Issuer) unwrap(ctx context.Context, s *session, wrapping string) (string, error) {
	if i.login.wrapping == wrapping {
		return i.login.secretID, nil
	}
	client, err := i.client(s.conn, i.cfg.Namespace)
	if err != nil {
		return "", err
	}
	secret, err := call(ctx, i, request{op: opUnwrap, what: "unwrap the secret id", secrets: s.secrets}, func(ctx context.Context) (*api.Secret, error) {
		return client.Logical().UnwrapWithContext(ctx, wrapping)
	})
	if err != nil {
		return "", err
	}
	var inner string
	if secret != nil {
		inner, _ = secret.Data["secret_id"].(string)
	}
	if inner == "" {
		return "", i.misconfigured(wrapHint, "unwrap the secret id: the answer for %s has no secret id", i.cfg.Auth.SecretIDFile)
	}
	i.login.wrapping, i.login.secretID = wrapping, inner
	return inner, nil
}

// logInWith sends what the auth method asks for.
func (i *Issuer) logInWith(ctx context.Context, s *session, body map[string]any) (*session, error) {
	now := i.cfg.now()
	secret, err := call(ctx, i, request{op: opLogIn, what: "log in", secrets: s.secrets}, write(s.client, "auth/"+i.cfg.Auth.Mount+"/login", body))
	if err != nil {
		return nil, err
	}
	if secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, i.odd("log in", errors.New("the answer has no token"))
	}
	s.client.SetToken(secret.Auth.ClientToken)
	s.secrets, s.appRole = append(s.secrets, secret.Auth.ClientToken), secret.Auth.Metadata["role_name"]
	return s.lasting(time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable, now), nil
}

// lookUp finds out how long a token that was given lasts. One without the
// default policy may not ask, and is used until it is refused; a dead one gets
// the same answer from some servers.
func (i *Issuer) lookUp(ctx context.Context, s *session) (*session, error) {
	now := i.cfg.now()
	secret, err := call(ctx, i, request{op: opLookUp, what: "look the token up", secrets: s.secrets}, s.client.Auth().Token().LookupSelfWithContext)
	if isDenied(err) && renewer.ClassOf(err) != renewer.ClassMisconfigured {
		s.unproven = true
		return s.lasting(0, false, now), nil
	}
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, i.odd("look the token up", errors.New("the server sent an empty answer"))
	}
	renewable, _ := secret.Data["renewable"].(bool)
	return s.lasting(time.Duration(number(secret.Data["ttl"]))*time.Second, renewable, now), nil
}
