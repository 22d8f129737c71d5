package hosts

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

const (
	dockerUnit = "docker.service"
	// DockerSocket is where dockerd listens for its own machine (dockerd(8)).
	// It is always named: DOCKER_HOST or a context may lead elsewhere.
	DockerSocket = "/var/run/docker.sock"
	dockerSocket = "unix://" + DockerSocket
	// dockerAnswer bounds one question: dockerd that is starting accepts a
	// connection and answers later.
	dockerAnswer = 30 * time.Second
)

// Docker asks the Docker daemon of the host what a guard looks at, by the
// docker command. Matching counts the running containers with the label, all
// of them for an empty one. A daemon that does not run is no error: one that
// systemd has stopped is not asked, for a question on its socket would start
// it.
func (h *Host) Docker(ctx context.Context, label string) (renewer.DockerState, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dockerAnswer, fmt.Errorf("no answer within %s", dockerAnswer))
	defer cancel()
	st, err := h.askDocker(ctx, label)
	if err != nil {
		return renewer.DockerState{}, fmt.Errorf("host %s: ask the Docker daemon: %w", h.name, err)
	}
	return st, nil
}

func (h *Host) askDocker(ctx context.Context, label string) (renewer.DockerState, error) {
	if stopped, _ := h.dockerStopped(ctx); stopped {
		return renewer.DockerState{}, nil
	}
	out, running, err := h.dockerCommand(ctx, listContainers(label)...)
	if err != nil || !running {
		return renewer.DockerState{}, err
	}
	st := renewer.DockerState{Running: true}
	for line := range strings.Lines(out) {
		if containerID(strings.TrimSpace(line)) {
			st.Matching++
		}
	}
	out, running, err = h.dockerCommand(ctx, askInfo...)
	if err != nil || !running {
		return renewer.DockerState{}, err
	}
	if st.LiveRestore, st.Containers, err = parseInfo(out); err != nil {
		return renewer.DockerState{}, err
	}
	if label == "" {
		st.Matching = st.Containers
	}
	return st, nil
}

// dockerStopped reports whether systemd has stopped the Docker daemon: a
// question on its socket would start it. Without systemd the socket alone tells.
func (h *Host) dockerStopped(ctx context.Context) (stopped bool, state string) {
	unit, err := h.show(ctx, dockerUnit, dockerProps...)
	if err != nil || unit["LoadState"] != "loaded" {
		return false, ""
	}
	state = unit["ActiveState"]
	return state == "inactive" || state == "failed" || state == "deactivating", state
}

// infoFormat is of docker info: warnings may be printed around it.
const (
	infoMark   = "renewer: "
	infoFormat = infoMark + "{{.LiveRestoreEnabled}} {{.ContainersRunning}}"
)

func parseInfo(out string) (liveRestore bool, containers int, err error) {
	for line := range strings.Lines(out) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), infoMark)
		if !ok {
			continue
		}
		on, n, _ := strings.Cut(rest, " ")
		liveRestore, err1 := strconv.ParseBool(on)
		containers, err2 := strconv.Atoi(n)
		if err := errors.Join(err1, err2); err != nil || containers < 0 {
			break
		}
		return liveRestore, containers, nil
	}
	return false, 0, fmt.Errorf("docker info did not report live-restore and running containers: %s", lastLines([]byte(out)))
}

// containerID reports whether a line is one of docker ps --quiet.
func containerID(s string) bool {
	return len(s) >= 12 && strings.Trim(s, "0123456789abcdef") == ""
}

// dockerCommand runs docker against the machine's own socket; running is false
// if no process listens there.
func (h *Host) dockerCommand(ctx context.Context, args ...string) (out string, running bool, err error) {
	out, err = h.output(ctx, called(h.docker, dockerArgs(args...)))
	switch {
	case err == nil:
		return out, true, nil
	case strings.Contains(out, "permission denied"):
		return "", false, renewer.WithHint(fmt.Errorf("docker %s: %w", args[0], err),
			"set sudo: true for the host, or add its user to the group docker (this grants root's rights)")
	case strings.Contains(out, "Cannot connect to the Docker daemon"):
		return "", false, nil
	}
	return "", false, fmt.Errorf("docker %s: %w", args[0], err)
}

// Clock returns the time of the host, in whole seconds, by date(1). Half of
// the way there and back is in it: compare in seconds.
func (h *Host) Clock(ctx context.Context) (time.Time, error) {
	out, err := h.output(ctx, called(h.date, readClock))
	if err != nil {
		return time.Time{}, fmt.Errorf("host %s: read the clock: %w", h.name, err)
	}
	s, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("host %s: read the clock: date printed %q", h.name, lastLines([]byte(out)))
	}
	return time.Unix(s, 0).UTC(), nil
}
