package hosts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// Bounds of a question to Dagu's API.
const (
	workersTimeout = 15 * time.Second
	workersLimit   = 4 << 20
	tokenLimit     = 16 << 10
)

// workers is what Dagu's HTTP API answers to GET …/workers (its OpenAPI
// document, schema WorkersListResponse), as far as it is needed.
type workers struct {
	Workers []struct {
		ID           string            `json:"id"`
		BusyPollers  int               `json:"busyPollers"`
		RunningTasks []json.RawMessage `json:"runningTasks"`
	} `json:"workers"`
	Errors []string `json:"errors"`
}

// busyWorkers asks Dagu's API, from here and not from the host, how many tasks
// the guard's worker has.
func busyWorkers(ctx context.Context, g renewer.DaguGuard) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, workersTimeout, fmt.Errorf("no answer within %s", workersTimeout))
	defer cancel()
	body, err := askWorkers(ctx, g)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, fmt.Errorf("ask %s: %w", g.URL, err)
	}
	var list workers
	if err := json.Unmarshal(body, &list); err != nil || list.Workers == nil {
		return 0, renewer.WithHint(fmt.Errorf("the answer of %s is not a list of workers", g.URL), "set url: to the complete address, such as https://dagu:8080/api/v1/workers")
	}
	if len(list.Errors) > 0 { // a coordinator that did not answer leaves workers out
		return 0, fmt.Errorf("%s could not reach every coordinator: %s", g.URL, lastLines([]byte(list.Errors[0])))
	}
	active, known := 0, g.Worker == "*"
	for _, w := range list.Workers {
		if name, _, _ := strings.Cut(w.ID, "@"); g.Worker != "*" && w.ID != g.Worker && name != g.Worker {
			continue
		}
		known = true
		active += max(w.BusyPollers, len(w.RunningTasks))
	}
	if !known {
		return 0, renewer.WithHint(fmt.Errorf("%s does not list worker %s", g.URL, g.Worker), "set worker: to its --worker.id, or to the host name of its machine")
	}
	return active, nil
}

func askWorkers(ctx context.Context, g renewer.DaguGuard) ([]byte, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if g.CACert != "" {
		text, err := atomicfile.ReadLimited(g.CACert, workersLimit)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("no certificate in %s", g.CACert)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if g.TokenFile != "" {
		token, err := readToken(g.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return nil, errors.Unwrap(err) // the rest names the URL again
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("the answer is %s", resp.Status)
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			err = renewer.WithHint(err, "set token_file: to a file with an API key that is allowed to read workers")
		}
		return nil, err
	}
	return io.ReadAll(io.LimitReader(resp.Body, workersLimit))
}

func readToken(file string) (string, error) {
	f, err := atomicfile.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, tokenLimit))
	token := strings.TrimSpace(string(text))
	if err == nil && (token == "" || strings.ContainsAny(token, "\r\n ")) {
		err = fmt.Errorf("%s does not contain exactly one token", file)
	}
	return token, err
}
