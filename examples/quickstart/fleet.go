package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/renewer"
)

//go:embed fleet.yaml.tmpl
var fleetText string

// fleetTemplate quotes as JSON, which is YAML too: a path may hold anything.
var fleetTemplate = template.Must(template.New("fleet").Funcs(template.FuncMap{
	"quote": func(s string) (string, error) {
		out, err := json.Marshal(s)
		return string(out), err
	},
}).Parse(fleetText))

// socketMax is the longest path of a unix socket on Linux: 108 bytes with the
// zero at its end (unix(7)).
const socketMax = 107

// home is where the quickstart lives; every path is absolute.
type home struct{ dir string }

func (h home) in(name string) string { return filepath.Join(h.dir, name) }
func (h home) fleetFile() string     { return h.in("renewer.yaml") }

// directories are made before anything runs, with their modes.
func (h home) directories() map[string]fs.FileMode {
	return map[string]fs.FileMode{h.in("state"): 0o700, h.in("service"): 0o755, h.in("client"): 0o755}
}

// writeFleetFile writes the fleet file unless there is one, with ports that
// are free now.
func (h home) writeFleetFile(ctx context.Context, lifetime time.Duration) error {
	if _, err := os.Stat(h.fleetFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	socket := h.in("renewer.sock")
	if len(socket) > socketMax {
		return renewer.WithHint(
			fmt.Errorf("the path %s is too long for a unix socket: %d bytes, %d at most", socket, len(socket), socketMax),
			"use a shorter one: make run QUICKSTART_DIR=/tmp/quickstart")
	}
	http, err := freeAddress(ctx, "127.0.0.1:9925")
	if err != nil {
		return err
	}
	service, err := freeAddress(ctx, "127.0.0.1:8443")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = fleetTemplate.Execute(&text, map[string]any{
		"State": h.in("state"), "Socket": socket, "HTTP": http, "Service": service,
		"ServiceDir": h.in("service"), "ClientDir": h.in("client"), "PIDFile": h.in("service.pid"),
		"Lifetime": configs.FormatDuration(lifetime),
	})
	if err != nil {
		return err
	}
	if _, err := configs.Parse(h.fleetFile(), text.Bytes()); err != nil {
		return err // a lifetime that is no good must not stay behind
	}
	return atomicfile.WriteNew(h.fleetFile(), text.Bytes(), 0o644)
}

// setup is what the quickstart has to know of its fleet file.
type setup struct {
	socket, http string
	issuer, ca   string // the CA's name and certificate file
	service      renewer.Placement
	client       renewer.Placement
}

// readFleetFile reads back what somebody may have changed.
func (h home) readFleetFile() (s setup, err error) {
	fleet, err := configs.Load(h.fleetFile())
	if err != nil {
		return s, err
	}
	s.socket, s.http = fleet.Socket, fleet.HTTP.Listen
	certificate, _ := fleet.Certificate("server")
	client, _ := fleet.Certificate("client")
	if len(certificate.Placements) == 0 || len(client.Placements) == 0 {
		return s, h.broken("it has no certificate named server, or none named client")
	}
	s.service, s.client = certificate.Placements[0], client.Placements[0]
	if s.service.Probe.Address == "" || s.service.Activate.PIDFile == "" {
		return s, h.broken("its certificate server has no tls probe or no signal activation")
	}
	issuer, _ := fleet.Issuer(certificate.Issuer)
	if issuer.Type != "local" {
		return s, h.broken("the issuer of its certificate server is not local")
	}
	s.issuer, s.ca = issuer.Name, issuer.CACert
	return s, nil
}

func (h home) broken(what string) error {
	return renewer.WithHint(
		fmt.Errorf("%s: %s, so the quickstart cannot use it", h.fleetFile(), what),
		"move "+h.dir+" away and start again, or run `renewer run` by hand")
}

// freeAddress returns the wanted loopback address, or one with another port
// if that is taken.
func freeAddress(ctx context.Context, wanted string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", wanted)
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("look for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
