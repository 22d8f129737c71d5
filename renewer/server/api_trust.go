package server

import (
	"net/http"

	"renewer/renewer"
)

func (a *api) dropRoot(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Root string `json:"root"`
	}
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	a.log.Info("drop of a root requested", "root", req.Root)
	streamEvents(a, w, r, func(func(renewer.Event)) (renewer.RootDropped, error) {
		return a.service.DropRoot(a.acts, req.Root)
	})
}

func (a *api) forget(w http.ResponseWriter, r *http.Request) {
	var req renewer.ForgetRequest
	if err := body(w, r, &req); err != nil {
		a.failed(w, r, err)
		return
	}
	if !req.Look {
		a.log.Info("forget requested", "name", req.Name)
	}
	streamEvents(a, w, r, func(func(renewer.Event)) ([]renewer.Forgotten, error) {
		return a.service.Forget(a.acts, req)
	})
}
