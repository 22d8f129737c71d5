package dagupeer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Config has the settings that Dagu has under these names.
type Config struct {
	Host         string   // coordinator.host
	Port         int      // coordinator.port
	Health       string   // address of the plaintext HTTP port
	Advertise    string   // coordinator.advertise; empty: the hostname
	Coordinators []string // worker.coordinators; none: from the registry
	Registry     string   // directory in which the coordinator says what it advertises
	WorkerID     string   // worker.id; empty: HOSTNAME@PID
	Pollers      int      // worker.max_active_runs; 0: one
	Local        bool     // default_execution_mode: local, of a scheduler
	Dir          string   // the coordinator's runs; the scheduler's spool

	Insecure      bool   // peer.insecure
	CertFile      string // peer.cert_file
	KeyFile       string // peer.key_file
	ClientCAFile  string // peer.client_ca_file: of the other side
	SkipTLSVerify bool   // peer.skip_tls_verify
}

// FromEnv fills the peer settings from DAGU_PEER_*; plaintext is the default.
func (c *Config) FromEnv(getenv func(string) string) error {
	c.Insecure = true
	for name, at := range map[string]*bool{"DAGU_PEER_INSECURE": &c.Insecure, "DAGU_PEER_SKIP_TLS_VERIFY": &c.SkipTLSVerify} {
		if v := getenv(name); v != "" {
			on, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*at = on
		}
	}
	c.CertFile, c.KeyFile, c.ClientCAFile = getenv("DAGU_PEER_CERT_FILE"), getenv("DAGU_PEER_KEY_FILE"), getenv("DAGU_PEER_CLIENT_CA_FILE")
	return nil
}

// refuse is what Dagu does not start with.
func (c Config) refuse() error {
	if !c.Insecure && c.CertFile == "" && c.KeyFile == "" && c.ClientCAFile == "" && !c.SkipTLSVerify {
		return errors.New("peer.insecure is false, and no TLS setting is there")
	}
	return nil
}

// server is TLS where both files are set, mutual where there is a CA too.
func (c Config) server() (credentials.TransportCredentials, error) {
	if c.CertFile == "" || c.KeyFile == "" {
		return insecure.NewCredentials(), nil
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.ClientCAFile != "" {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		if cfg.ClientCAs, err = pool(x509.NewCertPool(), c.ClientCAFile); err != nil {
			return nil, err
		}
	}
	return credentials.NewTLS(cfg), nil
}

func (c Config) client() (credentials.TransportCredentials, error) {
	if c.Insecure {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.SkipTLSVerify} //nolint:gosec // as the setting says, in tests alone
	if c.CertFile != "" && c.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if c.ClientCAFile != "" {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if cfg.RootCAs, err = pool(system, c.ClientCAFile); err != nil {
			return nil, err
		}
	}
	return credentials.NewTLS(cfg), nil
}

// pool adds the roots of a file.
func pool(p *x509.CertPool, file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !p.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in " + file)
	}
	return p, nil
}
