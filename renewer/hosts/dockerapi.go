package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"renewer/renewer"
)

// Bounds of what the Docker daemon of a host may say.
const (
	answerLimit = 4 << 20 // of one answer; an inspected container has some 10 KB
	logLines    = "20"    // of a container's own words
	logsTimeout = 5 * time.Second
)

// errNoDaemon: nobody listens on the socket.
var errNoDaemon = errors.New("the Docker daemon does not run")

// dockerAPI is a client of the machine's own Docker daemon, over the
// transport. It speaks the version that the daemon offers (20.10: 1.41).
type dockerAPI struct {
	*client.Client
	wire *wire
}

func (h *Host) dockerAPI() (*dockerAPI, error) {
	w := &wire{http: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.transport.DialDocker(ctx, dockerSocketPath)
		},
	}}
	api, err := client.New(client.WithScheme("http"), client.WithHTTPClient(&http.Client{
		Transport:     w,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	if err != nil {
		return nil, fmt.Errorf("make a client of the Docker API: %w", err)
	}
	return &dockerAPI{api, w}, nil
}

func (d *dockerAPI) Close() error {
	d.wire.http.CloseIdleConnections()
	return d.Client.Close()
}

// explain says what really happened where the library only says that it could
// not connect, or that a time was up.
func (d *dockerAPI) explain(ctx context.Context, err error) error {
	failed := d.wire.failed.Load()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case failed == nil || !client.IsErrConnectionFailed(err):
		return err
	case errors.Is(*failed, fs.ErrNotExist), errors.Is(*failed, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w", errNoDaemon, *failed)
	case errors.Is(*failed, fs.ErrPermission):
		return renewer.WithHint(*failed, "set sudo: true for the host, or add its user to the group docker (which is as good as root)")
	}
	return *failed
}

// wire bounds the size of every answer, and keeps the error of the last
// request that got none.
type wire struct {
	http   *http.Transport
	failed atomic.Pointer[error]
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.http.RoundTrip(r)
	if err != nil {
		w.failed.Store(&err)
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, answerLimit), resp.Body}
	return resp, nil
}

// words are the last lines that a container printed since it was last started;
// empty where its log driver keeps nothing to read.
func (c *box) words(ctx context.Context) string {
	got, err := c.api.ContainerInspect(ctx, c.name, client.ContainerInspectOptions{})
	if err != nil || got.Container.State == nil || got.Container.Config == nil {
		return ""
	}
	logs, err := c.api.ContainerLogs(ctx, c.name, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: logLines, Since: justBefore(got.Container.State.StartedAt),
	})
	if err != nil {
		return ""
	}
	defer func() { _ = logs.Close() }()
	said := &tail{limit: outputKept}
	if got.Container.Config.Tty {
		_, _ = io.Copy(said, logs) // what came before an error is worth telling
	} else {
		_, _ = stdcopy.StdCopy(said, said, logs)
	}
	return strings.TrimSpace(lastLines(bytes.TrimSpace(said.buf)))
}

// justBefore is a moment before a container was started: dockerd notes the
// time when the first words may have been printed already.
func justBefore(started string) string {
	at, err := time.Parse(time.RFC3339Nano, started)
	if err != nil {
		return ""
	}
	return at.Add(-time.Second).Format(time.RFC3339Nano)
}
