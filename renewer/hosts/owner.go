package hosts

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

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
				err = renewer.WithHint(err, "set owner: of the entry")
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
			Err:   fmt.Errorf("the files have to belong to user %d, but renewer writes as user %d, which may not change owners", want.UID, self.UID),
			Hint:  "run renewer as root (over SSH: sudo: true for the host), or remove owner: so that the files belong to renewer's user",
		}
	}
	return want, nil
}

// Owner are the numbers of who will own the files of a placement.
func (h *Host) Owner(ctx context.Context, p renewer.Placement) (uid, gid int, err error) {
	o, err := h.owner(ctx, p)
	return o.UID, o.GID, err
}

// Account looks up a user by name or number, with the numbers of all their groups
// and of some more by name.
func (h *Host) Account(ctx context.Context, user string, more []string) (uid int, groups []int, err error) {
	o, err := h.transport.Owner(ctx, user, "", "/")
	if err == nil {
		groups, err = h.transport.Groups(ctx, user)
	}
	for _, name := range more {
		if err == nil {
			var g Owner
			g, err = h.transport.Owner(ctx, "", name, "/")
			groups = append(groups, g.GID)
		}
	}
	if err != nil {
		return 0, nil, fmt.Errorf("host %s: look up %s: %w", h.name, user, err)
	}
	return o.UID, groups, nil
}

// ReadGroups reads what id -G prints.
func ReadGroups(out []byte) (groups []int, err error) {
	for text := range strings.FieldsSeq(string(out)) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("id(1) says %.40q", text)
		}
		groups = append(groups, n)
	}
	return groups, nil
}
