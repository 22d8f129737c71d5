package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"renewer/internal/netcause"
	"renewer/renewer"
)

// Check looks whether a channel could send, and sends nothing: its files, the
// form of its URL, its program. With reach it also connects to where its
// messages go.
func (c Channel) Check(ctx context.Context, reach bool) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := c.Sender.Check(ctx, reach); err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	return nil
}

// connectTimeout is less than a check has, so that the error says who did not answer.
const connectTimeout = 10 * time.Second

// connect opens a connection to where a request for u would go, or to the proxy
// on the way there, and closes it. TLS is verified as for a request.
func connect(ctx context.Context, u *url.URL, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	at := u
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err == nil && proxy != nil {
		at = proxy
	}
	port := map[string]string{"http": "80", "https": "443", "socks5": "1080", "smtp": "25"}[at.Scheme]
	address := net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		hint := "start the server, or allow connections to it; no message was sent"
		if errors.As(err, new(*net.DNSError)) {
			hint = "check the host name in the URL, and the DNS of this machine; no message was sent"
		}
		return renewer.WithHint(fmt.Errorf("connect to %s: %w", address, netcause.Of(err)), hint)
	}
	defer conn.Close()
	if at.Scheme != "https" {
		return nil
	}
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg = cfg.Clone()
	cfg.ServerName, cfg.MinVersion = cmp.Or(cfg.ServerName, at.Hostname()), max(cfg.MinVersion, tls.VersionTLS12)
	if err := tls.Client(conn, cfg).HandshakeContext(ctx); err != nil {
		return renewer.WithHint(fmt.Errorf("TLS with %s: %w", address, netcause.Of(err)), "the server needs a certificate for that name from a CA that this machine trusts (SSL_CERT_FILE)")
	}
	return nil
}

// Check implements Sender.
func (w Webhook) Check(ctx context.Context, reach bool) error {
	target, err := readSecret("URL of the webhook", w.URLFile)
	if err != nil {
		return err
	}
	if _, err := w.key(); err != nil {
		return err
	}
	u, err := w.parse(target)
	if err == nil && reach {
		err = connect(ctx, u, nil)
	}
	return redact(err, target)
}

// attempt is a transport that connects, and sends no request: it shows where a
// service of shoutrrr would send its message.
type attempt struct {
	reach bool // else it does not connect either
	next  http.RoundTripper
	once  *sync.Once
	made  chan error // how it went
}

func (a attempt) RoundTrip(r *http.Request) (*http.Response, error) {
	a.once.Do(func() {
		var err error
		if a.reach {
			var cfg *tls.Config
			if own, ok := a.next.(*http.Transport); ok {
				cfg = own.TLSClientConfig
			}
			err = connect(r.Context(), r.URL, cfg)
		}
		a.made <- err
	})
	return nil, errNotSent
}
