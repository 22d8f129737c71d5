package vault

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

const (
	maxAnswer  = 1 << 20 // real answers have a few KiB; a chain of sixteen RSA certificates 30
	maxFile    = 256 << 10
	maxSecret  = 16 << 10 // of a token, a secret id or a JWT
	longestAsk = 24 * time.Hour
)

// conn is a way to the server, made from the files of a moment.
type conn struct {
	files     [sha256.Size]byte // what it was made from
	transport *http.Transport
	http      *http.Client
}

// connect returns the connection to use. With fresh the files are read again,
// and one that was made from other files is left to end.
func (i *Issuer) connect(fresh bool) (*conn, error) {
	was := i.conn.Load()
	if was != nil && !fresh {
		return was, nil
	}
	cfg, sum, err := i.tlsConfig()
	if err != nil {
		return nil, err
	}
	if was != nil && was.files == sum {
		return was, nil
	}
	c := &conn{files: sum, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}
	c.http = &http.Client{
		Transport:     &guard{next: c.transport, issuer: i},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if !i.conn.CompareAndSwap(was, c) {
		return i.connect(false) // another goroutine was faster
	}
	if was != nil {
		was.transport.CloseIdleConnections()
	}
	return c, nil
}

func (i *Issuer) tlsConfig() (*tls.Config, [sha256.Size]byte, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	all := sha256.New()
	if i.cfg.CACert != "" {
		data, err := atomicfile.ReadLimited(i.cfg.CACert, maxFile)
		if err != nil {
			return nil, [sha256.Size]byte{}, i.fileError("ca_cert", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(data) {
			return nil, [sha256.Size]byte{}, i.misconfigured("set ca_cert to the CA of Vault's TLS certificate, in PEM", "ca_cert: %s has no certificate", i.cfg.CACert)
		}
		fmt.Fprintf(all, "%x ", sha256.Sum256(data))
	}
	if i.cfg.Auth.Method == "cert" {
		certPEM, err := atomicfile.ReadLimited(i.cfg.Auth.Cert, maxFile)
		if err != nil {
			return nil, [sha256.Size]byte{}, i.fileError("auth.cert", err)
		}
		keyPEM, err := i.readSecret(i.cfg.Auth.Key)
		if err != nil {
			return nil, [sha256.Size]byte{}, i.fileError("auth.key", err)
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, [sha256.Size]byte{}, i.misconfigured("they must be one certificate and its key, in PEM, not encrypted",
				"%s and %s cannot be used to log in: %w", i.cfg.Auth.Cert, i.cfg.Auth.Key, err)
		}
		// Whatever CAs the server names: it may accept more than it names.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		fmt.Fprintf(all, "%x ", sha256.Sum256(append(certPEM, keyPEM...)))
	}
	return cfg, [sha256.Size]byte(all.Sum(nil)), nil
}

// readSecret reads a file that should be its owner's alone; one that is not is
// used, with a warning.
func (i *Issuer) readSecret(file string) ([]byte, error) {
	data, err := atomicfile.ReadSecret(file, maxSecret)
	var exposed *atomicfile.ExposedError
	if errors.As(err, &exposed) {
		slog.Warn("a secret file can be read by other users", "issuer", i.cfg.Name, "file", file, "hint", renewer.Hint(err))
		return atomicfile.ReadLimited(file, maxSecret)
	}
	return data, err
}

// client returns a client of Vault's API that takes nothing from VAULT_*
// variables, follows no redirect and repeats no request.
func (i *Issuer) client(c *conn, namespace string) (*api.Client, error) {
	cfg := &api.Config{
		Address: i.cfg.Address, HttpClient: c.http, Timeout: i.cfg.timeout, DisableRedirects: true,
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	}
	client, err := api.NewClient(cfg)
	if err != nil { // the address was parsed by New: this is about the environment
		client, err = withoutEnvironment(func() (*api.Client, error) { return api.NewClient(cfg) })
	}
	if err != nil {
		return nil, i.misconfigured("check address of issuer "+i.cfg.Name, "make a client: %w", err)
	}
	client.ClearToken()
	client.SetHeaders(http.Header{"X-Vault-Request": {"true"}})
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	if namespace != "" {
		client.SetNamespace(namespace)
	}
	return client, nil
}

// anonymous returns a client without a token.
func (i *Issuer) anonymous(namespace string) (*api.Client, error) {
	c, err := i.connect(false)
	if err != nil {
		return nil, err
	}
	return i.client(c, namespace)
}

// guard looks at every answer before anything of it is parsed.
type guard struct {
	next   http.RoundTripper
	issuer *Issuer
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	begin := g.issuer.cfg.now()
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	end := g.issuer.cfg.now()
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		offset := at.Add(time.Second / 2).Sub(begin.Add(end.Sub(begin) / 2)).Round(time.Second) // Date has whole seconds
		g.issuer.clock.Store(&offset)
	}
	if after, ok := req.Context().Value(afterKey{}).(*time.Duration); ok {
		*after = retryAfter(resp.Header.Get("Retry-After"), end)
	}
	if err := unusable(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// unusable says why an answer is not to be read: every answer of Vault to what
// is asked here is JSON, or empty with status 204.
func unusable(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		to := "nowhere"
		if u, err := url.Parse(resp.Header.Get("Location")); err == nil && u.Host != "" {
			to = u.Scheme + "://" + u.Host
		}
		return &redirected{to: to}
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case kind != "application/json":
		return &notVault{status: resp.StatusCode, kind: kind}
	case resp.ContentLength > maxAnswer:
		return &http.MaxBytesError{Limit: maxAnswer}
	}
	return nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(n, int(longestAsk/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), longestAsk)
}

// afterKey is where a request's context holds what the answer asks for.
type afterKey struct{}

// write is a PUT as call wants it.
func write(client *api.Client, path string, body map[string]any) func(context.Context) (*api.Secret, error) {
	return func(ctx context.Context) (*api.Secret, error) {
		s, err := client.Logical().WriteWithContext(ctx, path, body)
		if err == nil && s == nil {
			return nil, io.ErrUnexpectedEOF
		}
		return s, err
	}
}
