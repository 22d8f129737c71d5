package dockerhost

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"renewer/renewer"
)

// KeyFile is the private key of a placement as it was seen; Known: it was.
type KeyFile struct {
	Known    bool
	UID, GID int
	Mode     fs.FileMode
}

// inspectContainers asks Docker for the containers with files of a placement. Where there
// is no Docker, or none has one, it says nothing about the key either.
func inspectContainers(ctx context.Context, m Machine, p renewer.Placement, disk renewer.OnDisk) (found []renewer.Container, key KeyFile) {
	found, err := m.Containers(ctx, p.Dir)
	if err != nil || len(found) == 0 {
		return nil, key
	}
	if k := disk.Key; k != nil {
		key = KeyFile{true, k.UID, k.GID, k.Mode.Perm()}
	}
	return found, key
}

// readableBy reports whether the user of a container may read the key. What a name of
// an image stands for is not known, but that it is not root.
func (k KeyFile) readableBy(user string) (readable, known bool) {
	name, group, _ := strings.Cut(user, ":")
	uid, err := strconv.Atoi(name)
	switch {
	case name == "" || name == "root" || err == nil && uid == 0 || k.Mode&0o004 != 0:
		return true, true
	case err == nil && uid == k.UID:
		return k.Mode&0o400 != 0, true
	case k.Mode&0o040 != 0: // by its group: that of the image, mostly
		gid, err := strconv.Atoi(group)
		return err == nil && gid == k.GID, err == nil
	}
	return false, err == nil || k.UID == 0
}

// singleMounts looks for containers that have a managed file alone: a rename does not
// reach them, so they keep the old file until they are started again.
func singleMounts(c Case) verdict {
	var found, stale []string
	for _, box := range c.Facts.Containers {
		for _, source := range box.Sources {
			inside := strings.HasPrefix(source, path.Join(c.Placement.Dir, ".renewer")+"/")
			for _, name := range c.Placement.Files {
				inside = inside || source == path.Join(c.Placement.Dir, name)
			}
			switch placed := c.PlacedAt.Add(c.Facts.Clock.Sub(c.Facts.Ours)); {
			case inside && !c.PlacedAt.IsZero() && !box.Started.IsZero() && box.Started.Before(placed):
				stale = append(stale, fmt.Sprintf("%s has %s", box.Name, source))
			case inside:
				found = append(found, fmt.Sprintf("%s has %s", box.Name, source))
			}
		}
	}
	if len(stale) > 0 {
		slices.Sort(stale)
		return warn("recreate the container with the directory mounted instead (-v "+c.Placement.Dir+":"+c.Placement.Dir+":ro)",
			"%s mounted as a single file and was started before the last renewal: it still uses the old file", strings.Join(slices.Compact(stale), "; "))
	}
	if len(found) == 0 {
		return verdict{}
	}
	slices.Sort(found)
	return warn("mount the directory instead (-v "+c.Placement.Dir+":"+c.Placement.Dir+":ro) and start the container again",
		"%s mounted as a single file: it keeps the old file after a renewal", strings.Join(slices.Compact(found), "; "))
}

// containerKey looks for containers that have the key, and run as somebody who may not
// read it.
func containerKey(c Case) verdict {
	if !c.Facts.Key.Known {
		return verdict{}
	}
	key, fix := path.Join(c.Placement.Dir, c.Placement.Files[renewer.FileKey]), ""
	var found []string
	for _, box := range c.Facts.Containers {
		if !slices.ContainsFunc(box.Sources, func(source string) bool {
			return source == key || source == c.Placement.Dir || strings.HasPrefix(key, source+"/")
		}) {
			continue
		}
		if readable, known := c.Facts.Key.readableBy(box.User); !readable && known {
			found = append(found, fmt.Sprintf("%s runs as %s", box.Name, box.User))
			if name, _, _ := strings.Cut(box.User, ":"); fix == "" {
				if _, err := strconv.Atoi(name); err == nil {
					fix = fmt.Sprintf("if it needs the key: owner: %q for the entry, then renewer renew %s", name, c.Placement.Certificate)
				}
			}
		}
	}
	if len(found) == 0 {
		return verdict{}
	}
	switch {
	case c.docker():
		fix = "only dockerd may use the key of the Docker daemon: create a separate certificate for the client (profile docker-client), and mount its directory"
	case fix == "":
		fix = "if it needs the key: owner: with the number of its user (docker exec CONTAINER id -u) for the entry, then renewer renew " + c.Placement.Certificate
	}
	slices.Sort(found)
	return warn(fix, "%s, but only user %[3]d can read %[2]s (mode %04[4]o)", strings.Join(found, "; "), key, c.Facts.Key.UID, c.Facts.Key.Mode)
}
