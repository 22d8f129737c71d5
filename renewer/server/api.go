package server

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"renewer/renewer"
)

const (
	maxBody = 1 << 20 // of a request
	// readTimeout is for the body of a request, writeTimeout for each write of
	// an answer, and answerTimeout for making an answer that is not streamed.
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	answerTimeout = 60 * time.Second
	// portAnswers is how many requests of the HTTP port are answered at once.
	portAnswers = 4
)

// api answers the routes.
type api struct {
	service Service
	version string
	log     *slog.Logger
	// acts is the context of what was begun for a client and goes on without
	// it; it ends with the server.
	acts  context.Context
	begun sync.WaitGroup
}

// errStopping is what a client gets whose wait ends with the daemon.
var errStopping = renewer.WithHint(errors.New("the daemon is stopping"), "the daemon continues interrupted work when it is started again")

// OpenAPI is the description of the API, made from the routes: see make api.
//
//go:embed openapi.json
var OpenAPI []byte

// handler serves every route, on the socket.
func (a *api) handler() http.Handler {
	mux := a.mux(func(rt *route, w http.ResponseWriter, r *http.Request) {
		if c := callerOf(r.Context()); rt.acting() && c.readsOnly() {
			fail(w, http.StatusForbidden, c.refused())
			return
		}
		rt.handle(a, w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", serverName+a.version) // see Client.otherVersion
		mux.ServeHTTP(w, r)
	})
}

// portHandler serves the routes that read, on the HTTP port: a few at once, each
// within answerTimeout, whatever the client does.
func (a *api) portHandler() http.Handler {
	places := make(chan struct{}, portAnswers)
	return a.mux(func(rt *route, w http.ResponseWriter, r *http.Request) {
		if !rt.onPort() {
			fail(w, http.StatusNotFound, fmt.Errorf("%s is on the socket alone", rt.path))
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-r.Context().Done():
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // connections have deadlines
		rt.handle(a, struct{ http.ResponseWriter }{w}, r.WithContext(ctx))                // extend has no effect on this
	})
}

func (a *api) mux(serve func(*route, http.ResponseWriter, *http.Request)) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.HandleFunc(rt.method+" "+Prefix+rt.path, func(w http.ResponseWriter, r *http.Request) { serve(rt, w, r) })
	}
	mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(OpenAPI) // the client has gone if it fails
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") { // a renewer of before this API
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"error": "the daemon is version %s, and this command is from an older version", "hint": "use the program of the daemon's version"}`, a.version)
			return
		}
		fail(w, http.StatusNotFound, fmt.Errorf("the API has no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// requestError is an error of the client's making.
type requestError struct{ error }

func (a *api) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, new(requestError)):
		status = http.StatusBadRequest
	case renewer.ClassOf(err) == renewer.ClassUnknown:
		status = http.StatusNotFound
	}
	a.log.Debug("api: request failed", "path", r.URL.Path, "err", err)
	fail(w, status, err)
}

func fail(w http.ResponseWriter, status int, err error) {
	extend(w)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	wire := toWire(err)
	wire.Status, wire.Title = status, http.StatusText(status)
	_ = json.NewEncoder(w).Encode(wire) // the client has gone if it fails
}

// extend gives the next write its deadline.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // connections of the socket have deadlines
}

// body reads a JSON request, strictly; an empty one has no fields.
func body(w http.ResponseWriter, r *http.Request, into any) error {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(readTimeout)) // as in extend
	defer func() { _ = ctl.SetReadDeadline(time.Time{}) }()
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err = dec.Token(); err == nil {
			err = errors.New("more than one value")
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return requestError{fmt.Errorf("read the request: %w", err)}
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	f, err := request[renewer.ListFilter](w, r)
	if err == nil && f.Status != "" && !slices.Contains(renewer.Statuses, f.Status) {
		err = requestError{fmt.Errorf("status is %q; expected one of %s", f.Status, strings.Trim(fmt.Sprint(renewer.Statuses), "[]"))}
	}
	if err != nil {
		a.failed(w, r, err)
		return
	}
	out := newTrailed(w, "application/json")
	sep := "["
	err = a.service.List(r.Context(), f, func(row renewer.Row) error {
		b, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encode the row of %s: %w", row.Name, err)
		}
		if _, err = fmt.Fprintf(out, "%s%s", sep, b); err == nil {
			err = r.Context().Err()
		}
		sep = ",\n"
		return err
	})
	if err == nil {
		if sep == "[" {
			_, err = io.WriteString(out, "[]\n")
		} else {
			_, err = io.WriteString(out, "]\n")
		}
	}
	a.end(out, r, err)
}

func (a *api) backup(w http.ResponseWriter, r *http.Request) {
	out := newTrailed(w, "application/octet-stream")
	a.end(out, r, a.service.Backup(a.byCaller(r.Context(), r, "/backup", none{}), out))
}

func (a *api) end(out *trailed, r *http.Request, err error) {
	if err != nil && !out.started {
		a.failed(out.w, r, err)
		return
	}
	if err = out.end(err); err != nil && r.Context().Err() == nil {
		a.log.Warn("api: stream ended early", "path", r.URL.Path, "err", err)
	}
}
