package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashicorp/vault/api"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// rotateAgain is how long after a rotation that failed it is tried again.
const rotateAgain = time.Hour

// Upkeep replaces the secret id when its file is older than rotate_secret_id.
// The new one logs in before it is written, and is written before the old one is
// destroyed: whatever stops in between leaves a file that works.
func (i *Issuer) Upkeep(ctx context.Context) error {
	if i.cfg.RotateSecretID == 0 {
		return nil
	}
	i.rotation.Lock()
	defer i.rotation.Unlock()
	now := i.cfg.now()
	file, err := i.secretIDFile()
	if err != nil {
		return err
	}
	if now.Before(i.rotation.after) || now.Before(file.ModTime().Add(i.cfg.RotateSecretID)) {
		return nil
	}
	i.rotation.after = now.Add(rotateAgain)
	if err := i.rotate(ctx, file.Mode().Perm()); err != nil {
		return err
	}
	i.rotation.after = time.Time{}
	return nil
}

// secretIDFile is the file that is replaced. A link is left alone: what it leads to is
// somebody else's, such as a secret that Kubernetes mounts.
func (i *Issuer) secretIDFile() (os.FileInfo, error) {
	file, err := os.Lstat(i.cfg.Auth.SecretIDFile)
	switch {
	case err != nil:
		return nil, i.fileError("auth.secret_id_file", err)
	case !file.Mode().IsRegular():
		return nil, i.misconfigured("set the real path of the file, or remove rotate_secret_id",
			"rotate_secret_id: %s is not a regular file (%s); renewer does not replace it", i.cfg.Auth.SecretIDFile, file.Mode().Type())
	}
	return file, nil
}

func (i *Issuer) rotate(ctx context.Context, mode os.FileMode) error {
	old, err := i.word("secret_id_file", i.cfg.Auth.SecretIDFile, true)
	if err != nil {
		return err
	}
	s, err := i.current(ctx)
	if err != nil {
		return err
	}
	r := request{op: opRotate, what: "get a new secret id"}
	at := i.secretIDs(s)
	answer, err := withToken(ctx, i, r, func(c *api.Client) func(context.Context) (*api.Secret, error) {
		return write(c, at, map[string]any{})
	})
	if err != nil {
		return err
	}
	next, _ := answer.Data["secret_id"].(string)
	if next == "" {
		return i.odd(r.what, errors.New("the answer has no secret id"))
	}
	destroy := func(id string) error {
		r := request{op: opRotate, what: "destroy an unused secret id"}
		_, err := withToken(ctx, i, r, func(c *api.Client) func(context.Context) (*api.Secret, error) {
			return func(ctx context.Context) (*api.Secret, error) {
				return c.Logical().WriteWithContext(ctx, at+"/destroy", map[string]any{"secret_id": id})
			}
		})
		return err
	}
	if number(answer.Data["secret_id_num_uses"]) == 1 {
		return errors.Join(i.misconfigured("{cli} write auth/{auth}/role/"+s.appRole+" secret_id_num_uses=0, or remove rotate_secret_id",
			"rotate_secret_id: the secret ids of the AppRole %s are valid for one login only, so a new one cannot be tested before use", s.appRole), destroy(next))
	}
	fresh, err := i.logInAs(ctx, next)
	if err == nil {
		err = atomicfile.Write(i.cfg.Auth.SecretIDFile, []byte(next+"\n"), mode)
	}
	if err != nil {
		return errors.Join(i.notRotated(err), destroy(next))
	}
	i.session.Store(fresh)
	slog.Info("the secret id of an AppRole was replaced", "issuer", i.cfg.Name, "file", i.cfg.Auth.SecretIDFile)
	if lasts := time.Duration(number(answer.Data["secret_id_ttl"])) * time.Second; lasts > 0 && lasts <= i.cfg.RotateSecretID {
		err = i.misconfigured("set rotate_secret_id to a shorter time, or run {cli} write auth/{auth}/role/"+s.appRole+" secret_id_ttl=0",
			"the secret ids of the AppRole %s expire after %s, before rotate_secret_id (%s) replaces them", s.appRole, lasts, i.cfg.RotateSecretID)
	}
	return errors.Join(err, destroy(old))
}

// number is one of an answer; 0 for anything else.
func number(v any) int64 {
	n, _ := v.(json.Number)
	whole, _ := n.Int64()
	return whole
}

// secretIDs is where secret ids of the AppRole that logged in are made.
func (i *Issuer) secretIDs(s *session) string {
	return "auth/" + i.cfg.Auth.Mount + "/role/" + s.appRole + "/secret-id"
}

// logInAs proves a secret id that is in no file yet.
func (i *Issuer) logInAs(ctx context.Context, secretID string) (*session, error) {
	c, err := i.connect(false)
	if err != nil {
		return nil, err
	}
	client, err := i.client(c, i.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	roleID, err := i.word("role_id_file", i.cfg.Auth.RoleIDFile, false)
	if err != nil {
		return nil, err
	}
	return i.appRole(ctx, &session{conn: c, client: client, secrets: []string{secretID}}, roleID, secretID)
}

func (i *Issuer) notRotated(err error) error {
	return &renewer.Error{
		Class: renewer.ClassMisconfigured, Hint: renewer.Hint(err),
		Err: fmt.Errorf("issuer %s: the new secret id is not used; renewer keeps the one in %s: %w", i.cfg.Name, i.cfg.Auth.SecretIDFile, err),
	}
}

// checkRotation finds beforehand what would stop a rotation.
func (i *Issuer) checkRotation(ctx context.Context, s *session) error {
	if i.cfg.RotateSecretID == 0 {
		return nil
	}
	if _, err := i.secretIDFile(); err != nil {
		return err
	}
	if dir := filepath.Dir(i.cfg.Auth.SecretIDFile); unix.Access(dir, unix.W_OK) != nil {
		return i.misconfigured("move {secret_id_file} to a directory that renewer can write to, or remove rotate_secret_id",
			"rotate_secret_id: %s is not writable, so a new secret id cannot be stored", dir)
	}
	path := i.secretIDs(s)
	may, err := call(ctx, i, request{op: opRead, what: "check the policies of the token", secrets: s.secrets},
		func(ctx context.Context) ([]string, error) {
			return s.client.Sys().CapabilitiesSelfWithContext(ctx, path)
		})
	switch {
	case isDenied(err):
		return nil // a token without the default policy may not ask
	case err != nil:
		return err
	case slices.Contains(may, "update") || slices.Contains(may, "root"):
		return nil
	}
	return i.misconfigured(fmt.Sprintf(`allow it in the policy: path %q { capabilities = ["update"] }, and the same for %s/destroy; or remove rotate_secret_id`, path, path),
		"rotate_secret_id: the token may not use %s", path)
}
