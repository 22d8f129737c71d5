package testhosts

import (
	"context"
	"strings"
)

// Image is what containers run: one busybox, by this name once a host has
// started a container.
const Image = "busybox"

// importImage packs the host's own busybox: there is no registry to pull from.
const importImage = `set -eu
docker image inspect "$1" >/dev/null 2>&1 ||
  tar -C /usr -c bin/busybox | docker import --change 'ENTRYPOINT ["/bin/busybox"]' - "$1" >/dev/null`

// StartContainer runs a container that does nothing for a day, and returns its
// id. Options are those of `docker run`, such as --label. It dies at once when
// it is stopped.
func (h *Host) StartContainer(ctx context.Context, options ...string) (id string, err error) {
	if _, err := h.Run(ctx, "sh", "-c", importImage, "sh", Image); err != nil {
		return "", err
	}
	argv := append([]string{"docker", "run", "--detach", "--stop-signal=KILL"}, options...)
	id, err = h.Run(ctx, append(argv, Image, "sleep", "86400")...)
	return strings.TrimSpace(id), err
}

// ContainerPID returns the process id of a running container's first process,
// as the host numbers it, and 0 if the container does not run. The same number
// before and after says that the container was not touched.
func (h *Host) ContainerPID(ctx context.Context, id string) (string, error) {
	pid, err := h.Run(ctx, "docker", "inspect", "--format={{.State.Pid}}", id)
	return strings.TrimSpace(pid), err
}
