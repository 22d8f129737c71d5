package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"

	"renewer/renewer"
)

const maxAnswer = 64 << 10 // bytes; /version has about 1 KiB

// docker asks dockerd what every client asks first (Docker Engine API,
// GET /_ping and GET /version).
func (p *Prober) docker(ctx context.Context, v *visit, r renewer.ProbeRequest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	var handed atomic.Bool
	transport := &http.Transport{
		MaxResponseHeaderBytes: maxAnswer,
		// The connection has been verified; there is no other.
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if !handed.CompareAndSwap(false, true) {
				return nil, errors.New("the server closed the connection after one request")
			}
			return stream{v.conn, v}, nil
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	if _, err := p.get(ctx, client, v, r, "/_ping"); err != nil {
		return err
	}
	body, err := p.get(ctx, client, v, r, "/version")
	if err != nil {
		return err
	}
	var version struct{ APIVersion string }
	if err := json.Unmarshal(body, &version); err != nil || version.APIVersion == "" {
		return notDocker(r, "/version does not name an ApiVersion")
	}
	return nil
}

func (p *Prober) get(ctx context.Context, client *http.Client, v *visit, r renewer.ProbeRequest, path string) ([]byte, error) {
	address := r.Placement.Probe.Address
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", address, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, v.broken(ctx, address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, v.broken(ctx, address, err)
	case len(body) > maxAnswer:
		return nil, notDocker(r, fmt.Sprintf("the answer of %s has more than %d bytes", path, maxAnswer))
	case resp.StatusCode != http.StatusOK:
		return nil, notDocker(r, fmt.Sprintf("%s answers %s", path, resp.Status))
	}
	return body, nil
}

// atHost adds a hint to a refused connection: on a host that is not set up
// dockerd does not listen.
func atHost(r renewer.ProbeRequest, err error) error {
	if p := r.Placement; p.Probe.Kind == renewer.ProbeDocker && errors.Is(err, syscall.ECONNREFUSED) {
		return &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: renewer.WithHint(err,
			"renewer host setup "+p.Host+" lets its Docker daemon listen there; renewer doctor "+p.Host+" says what is missing")}
	}
	return err
}

func notDocker(r renewer.ProbeRequest, why string) error {
	return &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: renewer.WithHint(
		fmt.Errorf("%s is not a healthy Docker daemon: %s", r.Placement.Probe.Address, why), "check the log of dockerd, and the address of the probe")}
}

// broken is the error for a request that got no whole answer.
func (v *visit) broken(ctx context.Context, address string, err error) error {
	v.mu.Lock()
	end := v.ended
	v.mu.Unlock()
	switch {
	case isAlert(end):
		return v.refused(address, end)
	case ctx.Err() == nil && v.asked && ended(end): // else we ended it
		return v.refused(address, end)
	default:
		return unreachable(ctx, address, err)
	}
}
