package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// ErrNoDaemon is returned where no daemon listens on the socket.
var ErrNoDaemon = errors.New("no daemon")

// Client is the Service of a daemon, through its socket. Errors keep their
// hint and class. Ending the context of Renew or Rollback ends the wait; the
// daemon goes on.
type Client struct {
	socket string
	http   *http.Client
}

var _ Service = (*Client)(nil)

// Dial returns the client of the daemon that listens on the socket. The error
// is ErrNoDaemon where there is no socket or nobody listens on it, and says so
// where there is one that may not be used.
func Dial(socket string) (*Client, error) {
	c, err := dial(context.Background(), socket)
	if err != nil {
		return nil, err
	}
	_ = c.Close() // only to see that somebody listens
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := dial(ctx, socket)
			if err != nil {
				return nil, err
			}
			return patient{c}, nil
		},
		DisableKeepAlives:  true, // a connection a request: each starts with fresh deadlines
		DisableCompression: true,
	}}}, nil
}

// patient is a connection that gives up when nothing comes for clientPatience.
type patient struct{ *net.UnixConn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(clientPatience)); err != nil {
		return 0, err
	}
	return p.UnixConn.Read(b)
}

// List implements Service.
func (c *Client) List(ctx context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/certificates", listQuery(f), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	if _, err := dec.Token(); err != nil {
		return c.cut(ctx, resp, err)
	}
	for dec.More() {
		var row renewer.Row
		if err := dec.Decode(&row); err != nil {
			return c.cut(ctx, resp, err)
		}
		if err := yield(row); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return c.cut(ctx, resp, err)
	}
	return c.ended(ctx, resp)
}

// Show implements Service.
func (c *Client) Show(ctx context.Context, name string) (renewer.Detail, error) {
	return get[renewer.Detail](ctx, c, "/v1/certificates/"+url.PathEscape(name), nil)
}

// Status implements Service.
func (c *Client) Status(ctx context.Context) (renewer.SystemStatus, error) {
	return get[renewer.SystemStatus](ctx, c, "/v1/status", nil)
}

// Plan implements Service.
func (c *Client) Plan(ctx context.Context) ([]renewer.PlanStep, error) {
	return get[[]renewer.PlanStep](ctx, c, "/v1/plan", nil)
}

// Forecast implements Service.
func (c *Client) Forecast(ctx context.Context, r forecast.Request) (forecast.Forecast, error) {
	return get[forecast.Forecast](ctx, c, "/v1/forecast", forecastQuery(r))
}

// Events implements Service.
func (c *Client) Events(ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
	return get[[]renewer.Event](ctx, c, "/v1/events", eventQuery(f))
}

// FleetFile implements Service.
func (c *Client) FleetFile(ctx context.Context) (FleetFile, error) {
	return get[FleetFile](ctx, c, "/v1/fleet", nil)
}

// RunOnce implements Service.
func (c *Client) RunOnce(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error) {
	return act[renewer.RunResult](ctx, c, "/v1/run", nil, progress)
}

// Renew implements Service.
func (c *Client) Renew(ctx context.Context, r renewer.RenewRequest, progress func(renewer.Event)) (renewer.RunResult, error) {
	return act[renewer.RunResult](ctx, c, "/v1/renew", r, progress)
}

// Rollback implements Service.
func (c *Client) Rollback(ctx context.Context, name string, progress func(renewer.Event)) (renewer.RunResult, error) {
	return act[renewer.RunResult](ctx, c, "/v1/certificates/"+url.PathEscape(name)+"/rollback", nil, progress)
}

// Adopt implements Service.
func (c *Client) Adopt(ctx context.Context, host, certificate string) (renewer.Adoption, error) {
	return act[renewer.Adoption](ctx, c, "/v1/hosts/"+url.PathEscape(host)+"/adopt", map[string]string{"certificate": certificate}, nil)
}

// TakeOver implements Service.
func (c *Client) TakeOver(ctx context.Context, host string) ([]renewer.TakenOver, error) {
	return act[[]renewer.TakenOver](ctx, c, "/v1/take-over", map[string]string{"host": host}, nil)
}

// Revoke implements Service.
func (c *Client) Revoke(ctx context.Context, r renewer.RevokeRequest, progress func(renewer.Event)) ([]renewer.Revoked, error) {
	return act[[]renewer.Revoked](ctx, c, "/v1/revoke", r, progress)
}

// Rotate implements Service.
func (c *Client) Rotate(ctx context.Context, r renewer.RotateRequest, progress func(renewer.Event)) (renewer.RotationView, error) {
	return act[renewer.RotationView](ctx, c, "/v1/rotate", r, progress)
}

// CA implements Service.
func (c *Client) CA(ctx context.Context, issuer string) (renewer.CAView, error) {
	return get[renewer.CAView](ctx, c, "/v1/ca", url.Values{"issuer": {issuer}})
}

// Verify implements Service.
func (c *Client) Verify(ctx context.Context, names []string) ([]renewer.Verification, error) {
	return act[[]renewer.Verification](ctx, c, "/v1/verify", map[string][]string{"names": names}, nil)
}

// Trust implements Service.
func (c *Client) Trust(ctx context.Context, r renewer.TrustRequest) (renewer.Trust, error) {
	return get[renewer.Trust](ctx, c, "/v1/trust", brief(url.Values{"name": r.Names}, r.Brief))
}

// Impact implements Service.
func (c *Client) Impact(ctx context.Context, r renewer.ImpactRequest) (renewer.Impact, error) {
	return get[renewer.Impact](ctx, c, "/v1/impact", brief(url.Values{"target": {r.Target}, "case": {string(r.Case)}}, r.Brief))
}

func brief(q url.Values, is bool) url.Values {
	if is {
		q.Set("brief", "")
	}
	return q
}

// DropRoot implements Service.
func (c *Client) DropRoot(ctx context.Context, root string) (renewer.RootDropped, error) {
	return act[renewer.RootDropped](ctx, c, "/v1/trust/drop", map[string]string{"root": root}, nil)
}

// Forget implements Service.
func (c *Client) Forget(ctx context.Context, r renewer.ForgetRequest) ([]renewer.Forgotten, error) {
	return act[[]renewer.Forgotten](ctx, c, "/v1/forget", r, nil)
}

// HostPlan implements Service.
func (c *Client) HostPlan(ctx context.Context, r renewer.SetupRequest) (renewer.HostPlan, error) {
	return act[renewer.HostPlan](ctx, c, "/v1/hosts/"+url.PathEscape(r.Host)+"/plan", r, nil)
}

// HostSetup implements Service.
func (c *Client) HostSetup(ctx context.Context, r renewer.SetupRequest, progress func(renewer.Event)) (renewer.HostPlan, error) {
	return act[renewer.HostPlan](ctx, c, "/v1/hosts/"+url.PathEscape(r.Host)+"/setup", r, progress)
}

// Doctor implements Service.
func (c *Client) Doctor(ctx context.Context, host string) ([]renewer.Finding, error) {
	return act[[]renewer.Finding](ctx, c, "/v1/doctor", map[string]string{"host": host}, nil)
}

// NotifyTest implements Service.
func (c *Client) NotifyTest(ctx context.Context, channel string) error {
	_, err := act[struct{}](ctx, c, "/v1/channels/"+url.PathEscape(channel)+"/test", nil, nil)
	return err
}

// Backup implements Service.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/backup", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, answerReader{ctx, c, resp}); err != nil {
		return err
	}
	return c.ended(ctx, resp)
}

// answerReader tells an error of the daemon from one of who is written to.
type answerReader struct {
	ctx  context.Context
	c    *Client
	resp *http.Response
}

func (a answerReader) Read(p []byte) (int, error) {
	n, err := a.resp.Body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.c.cut(a.ctx, a.resp, err)
	}
	return n, err
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var v T
	resp, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, c.cut(ctx, resp, err)
	}
	return v, nil
}

// act sends a request that is answered by lines and returns their last.
func act[T any](ctx context.Context, c *Client, path string, request any, progress func(renewer.Event)) (T, error) {
	var zero T
	resp, err := c.do(ctx, http.MethodPost, path, nil, request)
	if err != nil {
		return zero, err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var l line[T]
		if err := dec.Decode(&l); err != nil {
			return zero, c.cut(ctx, resp, err)
		}
		switch {
		case l.Event != nil:
			if progress != nil {
				progress(*l.Event)
			}
		case l.Result != nil:
			return *l.Result, l.Error.err()
		case l.Error != nil:
			return zero, l.Error.err()
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, request any) (*http.Response, error) {
	u := "http://renewer" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	var in io.Reader
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, in)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("ask the daemon: %w", cause(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var w wireError
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&w); err != nil || w.Message == "" {
		return nil, fmt.Errorf("the daemon at %s answered %s", c.socket, resp.Status)
	}
	return nil, w.err()
}

// ended reports how a stream with a trailer ended.
func (c *Client) ended(ctx context.Context, resp *http.Response) error {
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // the trailer comes after the body
		return c.cut(ctx, resp, err)
	}
	if end := resp.Trailer.Get(endTrailer); end != endOK {
		return c.cut(ctx, resp, io.ErrUnexpectedEOF)
	}
	return nil
}

// cut says why an answer is not whole: the client's own context, what the
// daemon said in the trailer, or an end without a word.
func (c *Client) cut(ctx context.Context, resp *http.Response, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, _ = io.Copy(io.Discard, resp.Body) // up to the trailer, if it comes at all
	var w wireError
	if end := resp.Trailer.Get(endTrailer); end != "" && json.Unmarshal([]byte(end), &w) == nil && w.Message != "" {
		return w.err()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return renewer.WithHint(fmt.Errorf("the answer of the daemon at %s was cut: %w", c.socket, err),
		"look at the daemon's log; it may have stopped")
}
