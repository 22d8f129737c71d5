package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"renewer/renewer"
)

// Between two looks at a container, and how long it has to run on after it was
// restarted or signalled before it is taken to run. What says more has a
// healthcheck, or a probe that asks the service itself.
const (
	containerLook   = 250 * time.Millisecond
	containerSettle = time.Second
)

// activateContainer restarts or signals one container through the Docker API
// of the host, and waits until it runs again, and is healthy where it has a
// healthcheck. One that is stopped or paused is left alone unless it is to be
// brought up again.
func (h *Host) activateContainer(ctx context.Context, a renewer.Activation, ask bool) (renewer.Activated, error) {
	if stopped, why := h.dockerStopped(ctx); stopped {
		return renewer.Activated{NotRunning: "the Docker daemon (" + why + ")"}, nil
	}
	api := h.dockerAPI()
	defer api.close()
	c := &box{api: api, name: a.Container}
	st, err := c.look(ctx)
	switch {
	case refusedWith(err, http.StatusNotFound):
		return renewer.Activated{}, &renewer.Error{
			Class: renewer.ClassMisconfigured, Err: fmt.Errorf("no such container: %s", a.Container),
			Hint: "run on the host: docker ps --all; docker compose names a container PROJECT-SERVICE-1 unless it has a container_name",
		}
	case errors.Is(err, errNoDaemon):
		return renewer.Activated{NotRunning: "the Docker daemon"}, nil
	case err != nil:
		return renewer.Activated{}, fmt.Errorf("inspect container %s: %w", a.Container, err)
	}
	// One in a crash loop is restarted: files from before may be the cause.
	if up := st.Running && !st.Paused || st.Restarting; !up && !a.Bring {
		return renewer.Activated{NotRunning: fmt.Sprintf("container %s (%s)", a.Container, describe(st))}, nil
	} else if ask {
		return renewer.Activated{}, nil
	}
	if err := h.allMine(ctx, a.Dirs); err != nil {
		return renewer.Activated{}, err
	}
	before := st.StartedAt
	if a.Action == "kill" && st.Running {
		before = ""
		err = api.kill(ctx, c.id, "SIG"+strings.TrimPrefix(strings.ToUpper(a.Signal), "SIG"))
		if refusedWith(err, http.StatusConflict) { // it ended a moment ago
			return renewer.Activated{NotRunning: "container " + a.Container}, nil
		}
	} else {
		err = api.restart(ctx, c.id)
	}
	if err != nil {
		return renewer.Activated{}, c.explain(ctx, fmt.Errorf("docker %s %s: %w", a.Action, a.Container, err))
	}
	if err := c.await(ctx, before); err != nil {
		return renewer.Activated{}, c.explain(ctx, fmt.Errorf("container %s %w", a.Container, err))
	}
	return renewer.Activated{}, nil
}

// box is one container of a host.
type box struct {
	api      *dockerAPI
	name, id string
}

func (c *box) look(ctx context.Context) (*containerState, error) {
	got, err := c.api.inspect(ctx, cmp.Or(c.id, c.name))
	if err != nil {
		return nil, err
	}
	if got.State == nil {
		return nil, errors.New("the Docker daemon does not report its state")
	}
	c.id = got.ID
	return got.State, nil
}

// await returns when the container runs, started at another moment than
// before, runs on, and is healthy if it has a healthcheck.
func (c *box) await(ctx context.Context, before string) error {
	tick := time.NewTicker(containerLook)
	defer tick.Stop()
	var since time.Time
	var started string
	for last := (*containerState)(nil); ; {
		st, err := c.look(ctx)
		if err == nil {
			last = st
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return fmt.Errorf("cannot be inspected: %w", err)
		case !st.Running && !st.Restarting:
			return fmt.Errorf("is not running any more: %s", describe(st))
		case st.Health != nil && st.Health.Status == "unhealthy":
			return fmt.Errorf("is unhealthy%s", checkSays(st.Health))
		case st.Restarting, st.StartedAt == before, st.StartedAt != started:
			since, started = time.Now(), st.StartedAt
		case st.Health != nil && st.Health.Status == "starting":
		case time.Since(since) >= containerSettle:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last == nil {
				return fmt.Errorf("did not start: %w", context.Cause(ctx))
			}
			return fmt.Errorf("did not start (%s): %w", describe(last), context.Cause(ctx))
		}
	}
}

// explain adds the container's own last words.
func (c *box) explain(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logsTimeout)
	defer cancel()
	if said := c.words(ctx); said != "" {
		err = fmt.Errorf("%w; it says: %s", err, said)
	}
	return renewer.WithHint(err, "run on the host: docker logs --tail 50 "+c.name)
}

// describe says how a container is, in Docker's words.
func describe(st *containerState) string {
	text := st.Status
	if !st.Running && st.Status == "exited" {
		text += fmt.Sprintf(" with code %d", st.ExitCode)
	}
	if st.OOMKilled {
		text += ", out of memory"
	}
	if st.Health != nil && st.Running {
		text += ", health " + st.Health.Status
	}
	if st.Error != "" {
		text += ", " + lastLines([]byte(st.Error))
	}
	return text
}

// checkSays is what the last healthcheck printed.
func checkSays(h *containerHealth) string {
	if len(h.Log) == 0 || h.Log[len(h.Log)-1] == nil {
		return ""
	}
	last := h.Log[len(h.Log)-1]
	return fmt.Sprintf(": the healthcheck failed with exit code %d: %s", last.ExitCode, lastLines([]byte(last.Output)))
}
