package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

const (
	maxBody = 1 << 20 // of a request
	// readTimeout is for the body of a request, writeTimeout for each write of
	// an answer, and answerTimeout for making an answer that is not streamed.
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	answerTimeout = 60 * time.Second
)

// api answers on the socket.
type api struct {
	service Service
	log     *slog.Logger
	// acts is the context of what was begun for a client and goes on without
	// it; it ends with the server.
	acts  context.Context
	begun sync.WaitGroup
}

// errStopping is what a client is told whose wait ends with the daemon.
var errStopping = renewer.WithHint(errors.New("the daemon is stopping"), "what was under way goes on when it runs again")

// handler holds every route; all else is refused.
func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/certificates", a.list)
	mux.HandleFunc("GET /v1/certificates/{name}", answer(a, func(ctx context.Context, r *http.Request) (renewer.Detail, error) {
		return a.service.Show(ctx, r.PathValue("name"))
	}))
	mux.HandleFunc("POST /v1/certificates/{name}/rollback", a.rollback)
	mux.HandleFunc("GET /v1/status", answer(a, func(ctx context.Context, _ *http.Request) (renewer.SystemStatus, error) {
		return a.service.Status(ctx)
	}))
	mux.HandleFunc("GET /v1/plan", answer(a, func(ctx context.Context, _ *http.Request) ([]renewer.PlanStep, error) {
		return a.service.Plan(ctx)
	}))
	mux.HandleFunc("GET /v1/forecast", answer(a, func(ctx context.Context, r *http.Request) (forecast.Forecast, error) {
		ask, err := parseForecast(r.URL.Query())
		if err != nil {
			return forecast.Forecast{}, requestError{err}
		}
		return a.service.Forecast(ctx, ask)
	}))
	mux.HandleFunc("GET /v1/events", answer(a, func(ctx context.Context, r *http.Request) ([]renewer.Event, error) {
		f, err := parseEventFilter(r.URL.Query())
		if err != nil {
			return nil, requestError{err}
		}
		return a.service.Events(ctx, f)
	}))
	mux.HandleFunc("GET /v1/fleet", answer(a, func(ctx context.Context, _ *http.Request) (FleetFile, error) {
		return a.service.FleetFile(ctx)
	}))
	mux.HandleFunc("GET /v1/trust", answer(a, func(ctx context.Context, r *http.Request) (renewer.Trust, error) {
		return a.service.Trust(ctx, renewer.TrustRequest{Names: r.URL.Query()["name"], Brief: r.URL.Query().Has("brief")})
	}))
	mux.HandleFunc("GET /v1/impact", answer(a, func(ctx context.Context, r *http.Request) (renewer.Impact, error) {
		q := r.URL.Query()
		return a.service.Impact(ctx, renewer.ImpactRequest{Target: q.Get("target"), Case: renewer.ImpactCase(q.Get("case")), Brief: q.Has("brief")})
	}))
	mux.HandleFunc("POST /v1/trust/drop", a.dropRoot)
	mux.HandleFunc("POST /v1/forget", a.forget)
	mux.HandleFunc("POST /v1/run", a.runOnce)
	mux.HandleFunc("POST /v1/renew", a.renew)
	mux.HandleFunc("POST /v1/revoke", a.revoke)
	mux.HandleFunc("POST /v1/rotate", a.rotate)
	mux.HandleFunc("GET /v1/ca", answer(a, func(ctx context.Context, r *http.Request) (renewer.CAView, error) {
		return a.service.CA(ctx, r.FormValue("issuer"))
	}))
	mux.HandleFunc("POST /v1/verify", a.verify)
	mux.HandleFunc("POST /v1/hosts/{name}/plan", a.hostPlan)
	mux.HandleFunc("POST /v1/hosts/{name}/setup", a.hostSetup)
	mux.HandleFunc("POST /v1/hosts/{name}/adopt", a.adopt)
	mux.HandleFunc("POST /v1/take-over", a.takeOver)
	mux.HandleFunc("POST /v1/doctor", a.doctor)
	mux.HandleFunc("POST /v1/channels/{name}/test", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := a.asked(r)
		defer cancel()
		streamEvents(a, w, r, func(func(renewer.Event)) (struct{}, error) {
			return struct{}{}, a.service.NotifyTest(ctx, r.PathValue("name"))
		})
	})
	mux.HandleFunc("GET /v1/backup", a.backup)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("the API has no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// requestError is an error of the client's making.
type requestError struct{ error }

// answer serves one value as JSON.
func answer[T any](a *api, do func(context.Context, *http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		v, err := do(ctx, r)
		if err != nil {
			a.failed(w, r, err)
			return
		}
		extend(w)
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			a.log.Warn("socket: answer not sent", "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler)
		}
	}
}

func (a *api) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, new(requestError)):
		status = http.StatusBadRequest
	case renewer.ClassOf(err) == renewer.ClassUnknown:
		status = http.StatusNotFound
	}
	a.log.Debug("socket: request failed", "path", r.URL.Path, "err", err)
	fail(w, status, err)
}

func fail(w http.ResponseWriter, status int, err error) {
	extend(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(toWire(err)) // the client has gone if it fails
}

// extend gives the next write its deadline.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // connections of the socket have deadlines
}

// body reads a JSON request, strictly.
func body(w http.ResponseWriter, r *http.Request, into any) error {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(readTimeout)) // as in extend
	defer func() { _ = ctl.SetReadDeadline(time.Time{}) }()
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("more than one value")
	}
	return requestError{fmt.Errorf("read the request: %w", err)}
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	f, err := parseListFilter(r.URL.Query())
	if err != nil {
		a.failed(w, r, requestError{err})
		return
	}
	out := newTrailed(w, "application/json")
	sep := "["
	err = a.service.List(r.Context(), f, func(row renewer.Row) error {
		b, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encode the row of %s: %w", row.Name, err)
		}
		_, err = fmt.Fprintf(out, "%s%s", sep, b)
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
	a.end(out, r, a.service.Backup(r.Context(), out))
}

func (a *api) end(out *trailed, r *http.Request, err error) {
	if err != nil && !out.started {
		a.failed(out.w, r, err)
		return
	}
	if err = out.end(err); err != nil && r.Context().Err() == nil {
		a.log.Warn("socket: stream ended early", "path", r.URL.Path, "err", err)
	}
}

func (a *api) renew(w http.ResponseWriter, r *http.Request) {
	var req renewer.RenewRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	a.log.Info("renew requested", "names", req.Names, "all", req.All, "expiring_within", req.ExpiringWithin, "force", req.Force, "without", req.Without)
	streamEvents(a, w, r, func(progress func(renewer.Event)) (renewer.RunResult, error) {
		return a.service.Renew(a.acts, req, progress)
	})
}

func (a *api) runOnce(w http.ResponseWriter, r *http.Request) {
	a.log.Info("one pass requested")
	streamEvents(a, w, r, func(progress func(renewer.Event)) (renewer.RunResult, error) {
		return a.service.RunOnce(a.acts, progress)
	})
}

func (a *api) rollback(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	a.log.Info("rollback requested", "certificate", name)
	streamEvents(a, w, r, func(progress func(renewer.Event)) (renewer.RunResult, error) {
		return a.service.Rollback(a.acts, name, progress)
	})
}

func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	var req renewer.RevokeRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	a.log.Info("revocation requested", "certificate", req.Name, "generation", req.Generation, "reason", req.Reason, "replace", req.Replace)
	streamEvents(a, w, r, func(progress func(renewer.Event)) ([]renewer.Revoked, error) {
		return a.service.Revoke(a.acts, req, progress)
	})
}

func (a *api) rotate(w http.ResponseWriter, r *http.Request) {
	var req renewer.RotateRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	a.log.Info("rotation requested", "issuer", req.Issuer, "kind", req.Kind, "now", req.Now, "compromised", req.Compromised, "without", req.Without,
		"keep", req.Keep, "cancel", req.Cancel, "destroy_old", req.DestroyOld, "plan", req.Plan)
	streamEvents(a, w, r, func(progress func(renewer.Event)) (renewer.RotationView, error) {
		return a.service.Rotate(a.acts, req, progress)
	})
}

func (a *api) verify(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Names []string `json:"names"`
	}
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.acts, cancel)()
	streamEvents(a, w, r, func(func(renewer.Event)) ([]renewer.Verification, error) {
		return a.service.Verify(ctx, req.Names)
	})
}
