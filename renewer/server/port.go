package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"renewer/internal/atomicfile"
	"renewer/internal/netcause"
	"renewer/internal/pattern"
	"renewer/renewer"
)

// Port says where metrics, health and the status page are served, and to whom.
type Port struct {
	Listen string // host:port; empty: nowhere
	// WebConfig is a file of Prometheus' exporter-toolkit: TLS, basic auth and
	// client certificates for everything on the port. It is read again at every
	// connection. Empty: plain HTTP.
	WebConfig string
	// AllowUnauthenticated: other machines may read the port without a password
	// or a client certificate.
	AllowUnauthenticated bool
	// AllowedHosts are further names that the Host header of a request may have;
	// see allows.
	AllowedHosts []string
}

const maxWebConfig = 1 << 20

// Check reads the web_config file and the certificates that it names.
func (p Port) Check() error {
	_, err := p.guarded()
	return err
}

// protection is what a web_config file asks of those who read the port.
type protection struct {
	who bool // a password or a client certificate of everybody
	tls bool
}

func (p Port) guarded() (g protection, err error) {
	if p.WebConfig == "" {
		return g, nil
	}
	fault := func(err error) error {
		return renewer.WithHint(fmt.Errorf("web_config %s: %s", p.WebConfig, withoutValues(err)),
			"expected a web configuration file of Prometheus' exporter-toolkit: tls_server_config, and basic_auth_users with passwords as bcrypt hashes")
	}
	data, err := readLimited(p.WebConfig)
	if err != nil {
		return g, fault(err)
	}
	if err := web.Validate(p.WebConfig); err != nil {
		return g, fault(err)
	}
	var c struct {
		TLS struct {
			ClientAuth string `yaml:"client_auth_type"`
			Cert       string `yaml:"cert"`
			CertFile   string `yaml:"cert_file"`
		} `yaml:"tls_server_config"`
		Users map[string]string `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return g, fault(err)
	}
	g.tls = c.TLS.Cert != "" || c.TLS.CertFile != ""
	g.who = len(c.Users) > 0 || g.tls && c.TLS.ClientAuth == "RequireAndVerifyClientCert"
	return g, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := atomicfile.Open(path)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			return nil, p.Err
		}
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxWebConfig+1))
	if err == nil && len(data) > maxWebConfig {
		err = fmt.Errorf("larger than %d MiB", maxWebConfig>>20)
	}
	return data, err
}

// quoted is how the YAML library shows a value: it may be a password in the
// wrong place.
var quoted = pattern.New("`[^`]*`")

func withoutValues(err error) string { return quoted.ReplaceAllString(err.Error(), "…") }

// listen takes the port, if those who can reach it may read it.
func (p Port) listen(log *slog.Logger) (net.Listener, error) {
	guard, err := p.guarded()
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.Listen)
	if err != nil {
		return nil, renewer.WithHint(fmt.Errorf("listen for metrics on %s: %w", p.Listen, netcause.Of(err)), "set http.listen to a free port")
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok || a.IP.IsLoopback() {
		return l, nil
	}
	switch {
	case !guard.who && !p.AllowUnauthenticated:
		return nil, errors.Join(renewer.WithHint(
			fmt.Errorf("listen for metrics on %s: other machines can reach it, and no password or client certificate is required", p.Listen), openHint), l.Close())
	case !guard.who:
		log.Warn("anyone who reaches this address can read metrics and the status page", "listen", a.String())
	case !guard.tls:
		log.Warn("passwords for metrics and the status page cross the network in clear: web_config has no tls_server_config", "listen", a.String())
	}
	return l, nil
}

const openHint = "listen on 127.0.0.1; or set http.web_config to a file with basic_auth_users, or with client_auth_type: RequireAndVerifyClientCert; " +
	"or also set http.allow_unauthenticated: true. It applies to the whole port: /metrics, /healthz, the status page and revocation lists"

// scheme is for messages.
func (p Port) scheme() string {
	if g, err := p.guarded(); err == nil && g.tls {
		return "https"
	}
	return "http"
}

// serve is http.Server.Serve behind the web_config file.
func (p Port) serve(s *http.Server, l net.Listener, log *slog.Logger) error {
	if p.WebConfig == "" {
		return s.Serve(l)
	}
	return web.Serve(l, s, &web.FlagConfig{WebConfigFile: &p.WebConfig}, log)
}
