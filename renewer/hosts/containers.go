package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"renewer/renewer"
)

// mostContainers is how many containers are looked at.
const mostContainers = 200

// Containers lists the containers that run and have a file or directory of the host's
// from below dir, or one that dir is below.
func (h *Host) Containers(ctx context.Context, dir string) ([]renewer.Container, error) {
	if stopped, _ := h.dockerStopped(ctx); stopped {
		return nil, nil
	}
	api := h.dockerAPI()
	defer api.close()
	list, err := api.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("host %s: list the containers: %w", h.name, err)
	}
	var out []renewer.Container
	for _, c := range list {
		near := false
		for _, m := range c.Mounts {
			near = near || within(m.Source, dir) || within(dir, m.Source)
		}
		if !near || len(out) == mostContainers {
			continue
		}
		got, err := api.inspect(ctx, c.ID)
		if refusedWith(err, http.StatusNotFound) {
			continue // it has just ended
		}
		if err != nil || got.Config == nil {
			return nil, fmt.Errorf("host %s: inspect container %s: %w", h.name, c.ID, err)
		}
		box := renewer.Container{Name: strings.TrimPrefix(c.name(), "/"), User: got.Config.User}
		if got.State != nil {
			box.Started, _ = time.Parse(time.RFC3339Nano, got.State.StartedAt)
		}
		for _, m := range c.Mounts {
			box.Sources = append(box.Sources, m.Source)
		}
		out = append(out, box)
	}
	return out, nil
}

func within(name, dir string) bool {
	return path.IsAbs(name) && path.IsAbs(dir) && (name == dir || dir == "/" || strings.HasPrefix(name, dir+"/"))
}

// listed is the part of a listed container that is looked at.
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Mounts []struct{ Source string }
}

func (l listed) name() string {
	if len(l.Names) > 0 {
		return l.Names[0]
	}
	return l.ID
}

func (d *dockerAPI) list(ctx context.Context) (list []listed, err error) {
	body, err := d.do(ctx, http.MethodGet, "", "json", nil)
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	return list, err
}
