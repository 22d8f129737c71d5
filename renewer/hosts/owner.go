package hosts

import (
	"context"
	"errors"
	"fmt"

	"renewer/renewer"
)

// owner resolves who will own the files of p: what the placement says, else
// User= and Group= of the unit that is activated, else who files are written
// as (root, or the process's own user).
func (h *Host) owner(ctx context.Context, p renewer.Placement) (Owner, error) {
	user, group := p.Owner, p.Group
	if user == "" && p.Activate.Kind == renewer.ActivateSystemd && len(p.Activate.Units) > 0 {
		props, err := h.show(ctx, p.Activate.Units[0], ownerProps...)
		if err != nil {
			err = fmt.Errorf("find the owner of the files: %w", err)
			if !errors.Is(err, renewer.ErrUnreachable) && renewer.Hint(err) == "" {
				err = renewer.WithHint(err, "set owner: to say it")
			}
			return Owner{}, err
		}
		user = props["User"]
		if group == "" {
			group = props["Group"]
		}
	}
	want, err := h.transport.Owner(ctx, user, group, p.Dir)
	if err != nil {
		return Owner{}, err
	}
	self, err := h.transport.Owner(ctx, "", "", p.Dir)
	if err != nil {
		return Owner{}, err
	}
	if self.UID != 0 && want.UID != self.UID {
		return Owner{}, &renewer.Error{
			Class: renewer.ClassMisconfigured,
			Err:   fmt.Errorf("files are to belong to user %d, but renewer writes as user %d, which may not give files away", want.UID, self.UID),
			Hint:  "run renewer as root (over SSH: sudo: true for the host), or leave owner: out so that the files belong to its own user",
		}
	}
	return want, nil
}
