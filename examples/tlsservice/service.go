package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// retryEvery is how often the files are tried at start.
const retryEvery = 200 * time.Millisecond

type service struct {
	options
	loaded atomic.Pointer[tls.Config] // replaced whole, so that no handshake sees half of it
}

// load reads the pair and the client CA; after an error the old ones stay.
func (s *service) load() error {
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return fmt.Errorf("load the pair %s, %s: %w", s.cert, s.key, err)
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return fmt.Errorf("load the client CA: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(pem) {
		return fmt.Errorf("load the client CA: %s holds no certificate", s.ca)
	}
	s.loaded.Store(&tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	})
	slog.Info("loaded", "serial", renewer.SerialHex(pair.Leaf), "not_after", pair.Leaf.NotAfter)
	return nil
}

// awaitFiles loads the files as soon as they are whole, or gives up.
func (s *service) awaitFiles(ctx context.Context, hangup <-chan os.Signal) error {
	giveUp := time.After(s.wait)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for said := false; ; said = true {
		err := s.load()
		if err == nil {
			return nil
		}
		if !said {
			slog.Info("waiting for the files", "error", err, "at_most", s.wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-giveUp:
			return fmt.Errorf("waited %s for the files: %w", s.wait, err)
		case <-hangup:
		case <-retry.C:
		}
	}
}

// reload loads the files at each signal.
func (s *service) reload(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := s.load(); err != nil {
				slog.Error("kept the old certificate", "error", err)
			}
		}
	}
}

// serve answers until the context ends, then lets requests under way finish.
func (s *service) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		// Refused clients are no fault of the service.
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return s.loaded.Load(), nil
			},
		},
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(bounded)
	}()
	slog.Info("serving", "address", listener.Addr().String())
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// ServeHTTP says which certificate new connections get, and who asked.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	leaf := s.loaded.Load().Certificates[0].Leaf
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	//nolint:gosec // G705: it is plain text, and a name that the client's CA signed
	fmt.Fprintf(w, "serving certificate %s, valid until %s\nyou are %s\n",
		renewer.SerialHex(leaf), leaf.NotAfter.Format(time.RFC3339), r.TLS.PeerCertificates[0].Subject.CommonName)
}

// writePIDFile writes the process id and returns what removes it again, unless
// another process has written its own meanwhile.
func writePIDFile(path string) (remove func(), err error) {
	mine := strconv.Itoa(os.Getpid())
	if err := atomicfile.Write(path, []byte(mine+"\n"), 0o644); err != nil {
		return nil, err
	}
	return func() {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == mine {
			_ = os.Remove(path)
		}
	}, nil
}
