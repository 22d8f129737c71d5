package main

import (
	"io"
	"path/filepath"
	"text/template"

	"renewer/renewer"
)

var looks = template.Must(template.New("looks").Parse(`
A TLS service runs on https://{{.Service}}, and renewer keeps its certificate and a client's valid.
Look at them from another terminal:

  {{.Renewer}} --config {{.Fleet}} list
  {{.Renewer}} --config {{.Fleet}} show server
  {{.Renewer}} --config {{.Fleet}} renew server
  curl --cacert {{.CA}} --cert {{.Cert}} --key {{.Key}} https://{{.Service}}/
  curl http://{{.HTTP}}/metrics

The fleet file is {{.Fleet}}; the logs are beside it. Ctrl-C stops the demo; its state is kept for the next run.

`))

// printLooks says what there is to look at, in commands to copy.
func printLooks(out io.Writer, binary, dir string, s setup) error {
	client := func(kind renewer.FileKind) string {
		return filepath.Join(dir, "client", s.client.Files[kind])
	}
	return looks.Execute(out, map[string]string{
		"Service": s.service.Probe.Address, "HTTP": s.http,
		"Renewer": binary, "Fleet": filepath.Join(dir, "renewer.yaml"),
		"CA": client(renewer.FileCA), "Cert": client(renewer.FileCert), "Key": client(renewer.FileKey),
	})
}
