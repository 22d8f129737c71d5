package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/server/page"
)

// shutdownTimeout bounds how long Run goes on after its context has ended.
const shutdownTimeout = 5 * time.Second

// State is what metrics and readiness look at. It answers from what is known:
// nothing here asks an issuer or a host.
type State interface {
	// Rows calls yield for the row of each certificate, soonest notAfter
	// first, until yield returns false or notAfter is not before until (zero:
	// no limit). It fails where the inventory cannot be read.
	Rows(until time.Time, yield func(renewer.Row) bool) error
	// RolloutTime is what the renewal of a certificate takes at most; 0 where that is not
	// in the fleet file.
	RolloutTime(certificate string) time.Duration
	Issuers() []renewer.IssuerStatus
	Hosts() []renewer.HostStatus
	// Channels returns the ways to notify people that are at work.
	Channels() []renewer.ChannelStatus
	// Daemon returns what is known of the daemon: its last check is zero before the first.
	Daemon() renewer.DaemonStatus
}

// Options say what is served and where.
type Options struct {
	Service Service
	Version string // of the program
	Socket  string // path of the API's unix socket
	Group   string // whose members may read on it; empty: none
	Port    Port
	State   State
	Metrics *Metrics
	// CRL returns the list of an issuer's revoked certificates in DER. It fails
	// with fs.ErrNotExist where there is no such issuer or none that keeps one,
	// and with the class refused where the issuer may not. Nil: there are none.
	CRL   func(ctx context.Context, issuer, ca string) ([]byte, error)
	Pages page.Source // of the status page
	// CheckWithin is how old the last check may be in a server that is ready.
	CheckWithin time.Duration
	Log         *slog.Logger
}

// Server is the API on a socket, and metrics and health on a port.
type Server struct {
	log    *slog.Logger
	api    *api
	socket *apiSocket
	served Port
	port   net.Listener // nil: none
	web    http.Handler
	stop   context.CancelFunc // of api.acts
}

// New takes the socket and the port, so that what is wrong with them is known
// before anything else starts. They are let go by Run, or by Close without it.
func New(o Options) (*Server, error) {
	acts, stop := context.WithCancel(context.Background())
	s := &Server{log: o.Log, stop: stop, served: o.Port, api: &api{service: o.Service, version: o.Version, log: o.Log, acts: acts}}
	var err error
	if s.socket, err = listenSocket(o.Socket, o.Group, o.Log); err != nil {
		stop()
		return nil, err
	}
	if o.Port.Listen != "" {
		s.web = webHandler(o, s.api.portHandler())
		if s.port, err = o.Port.listen(o.Log); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Addr returns where metrics and health are served; nil if they are not.
func (s *Server) Addr() net.Addr {
	if s.port == nil {
		return nil
	}
	return s.port.Addr()
}

// Close lets go of the socket and the port without serving.
func (s *Server) Close() error {
	s.stop()
	err := s.socket.Close()
	if s.port != nil {
		err = errors.Join(err, s.port.Close())
	}
	return err
}

// Run serves until ctx ends, then finishes what is being answered within
// shutdownTimeout. Waits for renewals end at once. The service and the state
// are in use until it returns.
func (s *Server) Run(ctx context.Context) error {
	errorLog := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	type pair struct {
		*http.Server
		serve func(*http.Server) error
	}
	serving := []pair{{&http.Server{
		Handler: s.api.handler(), ConnContext: withCaller, ReadHeaderTimeout: readTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: errorLog,
	}, func(h *http.Server) error { return h.Serve(s.socket) }}}
	s.log.Info("serving the API", "socket", s.socket.path)
	if s.port != nil {
		bounded := newBounded(s.port, mostConnections)
		serving = append(serving, pair{&http.Server{
			Handler: s.web, ReadHeaderTimeout: readTimeout, ReadTimeout: writeTimeout, WriteTimeout: writeTimeout,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: errorLog, ConnState: bounded.turned,
		}, func(h *http.Server) error { return s.served.serve(h, bounded, s.log) }})
		s.log.Info("serving metrics, health checks and the status page", "url", s.served.scheme()+"://"+s.port.Addr().String()+"/")
	}

	ended := make(chan error, len(serving))
	for _, p := range serving {
		go func() { ended <- p.serve(p.Server) }()
	}
	var failed error
	left := len(serving)
	select {
	case <-ctx.Done():
	case failed = <-ended:
		left--
	}

	s.stop()
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	var closing sync.WaitGroup
	for _, p := range serving {
		closing.Go(func() {
			if err := p.Shutdown(bound); err != nil {
				s.log.Warn("an answer was cut off: it exceeded its time limit", "err", p.Close())
			}
		})
	}
	closing.Wait()
	for ; left > 0; left-- {
		if err := <-ended; failed == nil {
			failed = err
		}
	}
	begun := make(chan struct{})
	go func() { s.api.begun.Wait(); close(begun) }()
	select {
	case <-begun:
	case <-bound.Done():
		s.log.Warn("a request did not finish before the shutdown deadline")
	}
	_ = s.Close() // the listeners are closed by now; this removes nothing twice
	if errors.Is(failed, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", failed)
}
