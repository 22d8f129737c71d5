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
	"os"
	"slices"
	"strings"
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
// is ErrNoDaemon where there is no socket or nothing listens on it, and says so
// where there is one that may not be used: also one that another user serves, who is
// neither root nor the owner of the state directory (nil: not known).
func Dial(socket string, stateDir func() string) (*Client, error) {
	dial := func(ctx context.Context) (*net.UnixConn, error) {
		c, err := dial(ctx, socket)
		if err == nil {
			if err = trusted(c, socket, stateDir); err != nil {
				_ = c.Close()
			}
		}
		return c, err
	}
	c, err := dial(context.Background())
	if err != nil {
		return nil, err
	}
	_ = c.Close() // only to see that somebody listens
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := dial(ctx)
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
	resp, err := c.do(ctx, list.route, f)
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

// Events implements Service, in as many requests as it takes.
func (c *Client) Events(ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
	most := f.Limit
	var pages [][]renewer.Event
	for got := 0; ; {
		f.Limit = mostEvents
		if most > 0 {
			f.Limit = min(most-got, mostEvents)
		}
		page, err := read(ctx, c, events, f)
		got += len(page)
		pages = append(pages, page)
		if err != nil || len(page) < f.Limit || got == most {
			if f.After == 0 {
				slices.Reverse(pages)
			}
			return slices.Concat(pages...), err
		}
		if f.After > 0 {
			f.After = page[len(page)-1].Seq
		} else {
			f.Before = page[0].Seq
		}
	}
}

// Forecast implements Service.
func (c *Client) Forecast(ctx context.Context, r forecast.Request) (forecast.Forecast, error) {
	f := foretold{For: r.For}
	for _, o := range r.Outages {
		f.Outages = append(f.Outages, o.Of+"="+o.For.String())
	}
	return read(ctx, c, ahead, f)
}

// Those that are one request: see Service, and their routes.

func (c *Client) Show(ctx context.Context, name string) (renewer.Detail, error) {
	return read(ctx, c, show, byName{name})
}

func (c *Client) Status(ctx context.Context) (renewer.SystemStatus, error) {
	return read(ctx, c, status, none{})
}

func (c *Client) Plan(ctx context.Context, r renewer.PlanRequest) (renewer.PlanView, error) {
	return read(ctx, c, planView, r)
}

func (c *Client) FleetFile(ctx context.Context) (FleetFile, error) {
	return read(ctx, c, fleet, none{})
}

func (c *Client) CA(ctx context.Context, issuer string) (renewer.CAView, error) {
	return read(ctx, c, ca, byIssuer{issuer})
}

func (c *Client) Trust(ctx context.Context, r renewer.TrustRequest) (renewer.Trust, error) {
	return read(ctx, c, trust, r)
}

func (c *Client) Impact(ctx context.Context, r renewer.ImpactRequest) (renewer.Impact, error) {
	return read(ctx, c, impact, r)
}

func (c *Client) RunOnce(ctx context.Context, p progress) (renewer.RunResult, error) {
	return act(ctx, c, runOnce, none{}, p)
}

func (c *Client) Renew(ctx context.Context, r renewer.RenewRequest, p progress) (renewer.RunResult, error) {
	return act(ctx, c, renew, r, p)
}

func (c *Client) Rollback(ctx context.Context, name string, p progress) (renewer.RunResult, error) {
	return act(ctx, c, rollback, byName{name}, p)
}

func (c *Client) Adopt(ctx context.Context, host, certificate string) (renewer.Adoption, error) {
	return act(ctx, c, adopt, adoption{host, certificate}, nil)
}

func (c *Client) TakeOver(ctx context.Context, host string) ([]renewer.TakenOver, error) {
	return act(ctx, c, takeOver, byHost{host}, nil)
}

func (c *Client) Revoke(ctx context.Context, r renewer.RevokeRequest, p progress) ([]renewer.Revoked, error) {
	return act(ctx, c, revoke, r, p)
}

func (c *Client) Rotate(ctx context.Context, r renewer.RotateRequest, p progress) (renewer.RotationView, error) {
	return act(ctx, c, rotate, r, p)
}

func (c *Client) Verify(ctx context.Context, names []string) ([]renewer.Verification, error) {
	return act(ctx, c, verify, byNames{names}, nil)
}

func (c *Client) DropRoot(ctx context.Context, root string) (renewer.RootDropped, error) {
	return act(ctx, c, dropRoot, byRoot{root}, nil)
}

func (c *Client) Forget(ctx context.Context, r renewer.ForgetRequest) ([]renewer.Forgotten, error) {
	return act(ctx, c, forget, r, nil)
}

func (c *Client) HostPlan(ctx context.Context, r renewer.SetupRequest) (renewer.HostPlan, error) {
	return act(ctx, c, hostPlan, r, nil)
}

func (c *Client) HostSetup(ctx context.Context, r renewer.SetupRequest, p progress) (renewer.HostPlan, error) {
	return act(ctx, c, hostSetup, r, p)
}

func (c *Client) Doctor(ctx context.Context, host string) ([]renewer.Finding, error) {
	return act(ctx, c, doctor, byHost{host}, nil)
}

func (c *Client) NotifyTest(ctx context.Context, channel string) error {
	_, err := act(ctx, c, notifyTest, byChannel{channel}, nil)
	return err
}

// Backup implements Service.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, backup.route, none{})
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

// read asks for one value.
func read[Req, Ans any](ctx context.Context, c *Client, e endpoint[Req, Ans], req Req) (v Ans, err error) {
	resp, err := c.do(ctx, e.route, req)
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
func act[Req, Ans any](ctx context.Context, c *Client, e endpoint[Req, Ans], req Req, progress func(renewer.Event)) (zero Ans, err error) {
	resp, err := c.do(ctx, e.route, req)
	if err != nil {
		return zero, err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var l line[Ans]
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

func (c *Client) do(ctx context.Context, rt *route, request any) (*http.Response, error) {
	var in io.Reader
	if rt.acting() {
		b, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		in = bytes.NewReader(b)
	}
	resp, err := c.send(ctx, rt.method, rt.target(request), in)
	if err != nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()
	var w wireError
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&w); err != nil || w.Detail == "" || w.Status == http.StatusNotFound && w.Class == "" {
		return nil, c.otherVersion(ctx, resp)
	}
	return nil, w.err()
}

func (c *Client) send(ctx context.Context, method, target string, in io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://renewer"+target, in)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if who := os.Getenv("SUDO_USER"); who != "" {
		req.Header.Set(sudoHeader, url.QueryEscape(who[:min(len(who), maxSudoUser)])) // it may be anything
	}
	resp, err := c.http.Do(req)
	if err == nil {
		return resp, nil
	}
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("no answer from the daemon: %w", cause(err))
}

// otherVersion is the error of an answer that a daemon of this version does not give.
// Before this API there was another one, at /v1, which said the version in its status.
func (c *Client) otherVersion(ctx context.Context, resp *http.Response) error {
	version, ok := strings.CutPrefix(resp.Header.Get("Server"), serverName)
	if !ok {
		old, err := c.send(ctx, http.MethodGet, "/v1/status", nil)
		if err != nil {
			return err
		}
		defer old.Body.Close()
		var st renewer.SystemStatus
		if old.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(old.Body, 16<<20)).Decode(&st) != nil {
			return fmt.Errorf("the daemon at %s answered %s", c.socket, resp.Status)
		}
		version = st.Daemon.Version
	}
	return renewer.WithHint(fmt.Errorf("the daemon at %s is version %s, and does not support this request", c.socket, version),
		"restart it, so that it runs the version that is installed now: systemctl restart renewer")
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
	if end := resp.Trailer.Get(endTrailer); end != "" && json.Unmarshal([]byte(end), &w) == nil && w.Detail != "" {
		return w.err()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return renewer.WithHint(fmt.Errorf("the answer of the daemon at %s was cut off: %w", c.socket, err),
		"look at the daemon's log; it may have stopped")
}
