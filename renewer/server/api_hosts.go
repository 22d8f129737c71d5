package server

import (
	"context"
	"net/http"

	"renewer/renewer"
)

// asked is a context that ends with the client's patience or with the server.
func (a *api) asked(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(a.acts, cancel)
	return ctx, func() { stop(); cancel() }
}

func (a *api) hostPlan(w http.ResponseWriter, r *http.Request) {
	var req renewer.SetupRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	req.Host = r.PathValue("name")
	ctx, cancel := a.asked(r)
	defer cancel()
	streamEvents(a, w, r, func(func(renewer.Event)) (renewer.HostPlan, error) {
		return a.service.HostPlan(ctx, req)
	})
}

func (a *api) hostSetup(w http.ResponseWriter, r *http.Request) {
	var req renewer.SetupRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	req.Host = r.PathValue("name")
	a.log.Info("setup of a host requested", "host", req.Host)
	streamEvents(a, w, r, func(progress func(renewer.Event)) (renewer.HostPlan, error) {
		return a.service.HostSetup(a.acts, req, progress)
	})
}

func (a *api) adopt(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Certificate string `json:"certificate"`
	}
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	host := r.PathValue("name")
	a.log.Info("adoption requested", "host", host, "certificate", req.Certificate)
	ctx, cancel := a.asked(r)
	defer cancel()
	streamEvents(a, w, r, func(func(renewer.Event)) (renewer.Adoption, error) {
		return a.service.Adopt(ctx, host, req.Certificate)
	})
}

func (a *api) takeOver(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Host string `json:"host"`
	}
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	a.log.Info("taking over requested", "host", req.Host)
	streamEvents(a, w, r, func(func(renewer.Event)) ([]renewer.TakenOver, error) {
		return a.service.TakeOver(a.acts, req.Host)
	})
}

func (a *api) doctor(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Host string `json:"host"`
	}
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	ctx, cancel := a.asked(r)
	defer cancel()
	streamEvents(a, w, r, func(func(renewer.Event)) ([]renewer.Finding, error) {
		return a.service.Doctor(ctx, req.Host)
	})
}
