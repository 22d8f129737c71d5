package hosts

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"

	"renewer/renewer"
)

// Bounds of what the Docker daemon of a host may say.
const (
	answerLimit = 4 << 20 // of one answer; an inspected container has some 10 KB
	logLines    = "20"    // of a container's own words
	logsTimeout = 5 * time.Second
)

// errNoDaemon: no process listens on the socket.
var errNoDaemon = errors.New("the Docker daemon is not running")

// dockerAPI is a client of the machine's own Docker daemon, over the
// transport. It speaks the version that the daemon offers (20.10: 1.41): what
// is read here has been the same in all of them.
type dockerAPI struct {
	wire    *http.Transport
	version string // asked for by the first request
}

func (h *Host) dockerAPI() *dockerAPI {
	return &dockerAPI{wire: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.transport.DialDocker(ctx, DockerSocket)
		},
	}}
}

func (d *dockerAPI) close() { d.wire.CloseIdleConnections() }

// container is the part of an inspected one that is looked at.
type container struct {
	ID     string `json:"Id"`
	State  *containerState
	Config *struct {
		Tty  bool
		User string
	}
	HostConfig *struct{ Init *bool }
}

type containerState struct {
	Status, StartedAt, Error               string
	Running, Paused, Restarting, OOMKilled bool
	ExitCode                               int
	Health                                 *containerHealth
}

type containerHealth struct {
	Status string
	Log    []*struct {
		ExitCode int
		Output   string
	}
}

func (d *dockerAPI) inspect(ctx context.Context, name string) (c container, err error) {
	body, err := d.do(ctx, http.MethodGet, name, "json", nil)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	return c, err
}

// top returns the processes of a container, each with its columns.
func (d *dockerAPI) top(ctx context.Context, name string) ([][]string, error) {
	var list struct{ Processes [][]string }
	body, err := d.do(ctx, http.MethodGet, name, "top", nil)
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	return list.Processes, err
}

func (d *dockerAPI) restart(ctx context.Context, name string) error {
	_, err := d.do(ctx, http.MethodPost, name, "restart", nil)
	return err
}

func (d *dockerAPI) kill(ctx context.Context, name, signal string) error {
	_, err := d.do(ctx, http.MethodPost, name, "kill", url.Values{"signal": {signal}})
	return err
}

// refusal is an answer of the daemon that is no success.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refusedWith(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// do asks one thing about a container and returns the answer, or why there is
// none.
func (d *dockerAPI) do(ctx context.Context, method, name, what string, query url.Values) ([]byte, error) {
	if d.version == "" {
		head, _, err := d.ask(ctx, http.MethodGet, &url.URL{Path: "/_ping"})
		if err != nil {
			return nil, err
		}
		if d.version = head.Get("Api-Version"); strings.Trim(d.version, "0123456789.") != "" || d.version == "" {
			return nil, errors.New("the answer is not from a Docker daemon")
		}
	}
	_, body, err := d.ask(ctx, method, &url.URL{Path: path.Join("/v"+d.version, "containers", name, what), RawQuery: query.Encode()})
	return body, err
}

func (d *dockerAPI) ask(ctx context.Context, method string, at *url.URL) (http.Header, []byte, error) {
	at.Scheme, at.Host = "http", "docker"
	req, err := http.NewRequestWithContext(ctx, method, at.String(), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	resp, err := d.wire.RoundTrip(req) // follows no redirect
	if err != nil {
		return nil, nil, explainDocker(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return nil, nil, explainDocker(ctx, err)
	case len(body) > answerLimit:
		return nil, nil, fmt.Errorf("the Docker daemon's answer has more than %d bytes", answerLimit)
	case resp.StatusCode/100 == 2:
		return resp.Header, body, nil
	}
	var said struct{ Message string }
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		said.Message = "the Docker daemon answers " + resp.Status
	}
	return nil, nil, &refusal{resp.StatusCode, lastLines([]byte(said.Message))}
}

// explainDocker says what it means that there was no answer.
func explainDocker(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w", errNoDaemon, err)
	case errors.Is(err, fs.ErrPermission):
		return renewer.WithHint(err, "set sudo: true for the host, or add its user to the group docker (this grants root's rights)")
	}
	return err
}

// words are the last lines that a container printed since it was last started;
// empty where its log driver keeps nothing to read.
func (c *box) words(ctx context.Context) string {
	got, err := c.api.inspect(ctx, c.name)
	if err != nil || got.State == nil || got.Config == nil {
		return ""
	}
	text, err := c.api.do(ctx, http.MethodGet, c.name, "logs", url.Values{
		"stdout": {"1"}, "stderr": {"1"}, "tail": {logLines}, "since": {justBefore(got.State.StartedAt)},
	})
	if err != nil {
		return ""
	}
	if !got.Config.Tty {
		text = unframed(text)
	}
	said := &tail{limit: outputKept}
	_, _ = said.Write(text)
	return strings.TrimSpace(lastLines(bytes.TrimSpace(said.buf)))
}

// unframed takes the frames off what a container without a terminal printed: a
// stream's number, three zero bytes and a length stand before each (Docker
// Engine API, ContainerAttach). What comes before a broken one is kept.
func unframed(text []byte) (out []byte) {
	for len(text) >= 8 {
		n := min(int(binary.BigEndian.Uint32(text[4:8])), len(text)-8)
		out = append(out, text[8:8+n]...)
		text = text[8+n:]
	}
	return out
}

// justBefore is a moment before a container was started, in seconds since 1970:
// dockerd notes the time when the first words may have been printed already.
func justBefore(started string) string {
	at, err := time.Parse(time.RFC3339Nano, started)
	if err != nil {
		return ""
	}
	return fmt.Sprint(at.Add(-time.Second).Unix())
}
