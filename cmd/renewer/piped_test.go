package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
	"renewer/renewer/server"
)

// hostile is a service whose hosts and issuers answer with what steers a terminal.
type hostile struct{ madeUp }

const steering = "a\u202eb\u009b31mc\x1b[31md\u2066e"

func (h hostile) List(_ context.Context, _ renewer.ListFilter, yield func(renewer.Row) error) error {
	return yield(h.row("web", renewer.StatusBlocked, renewer.HostRow{Name: "h", State: renewer.HostRolledBack, Error: steering}))
}

func (hostile) Events(context.Context, renewer.EventFilter) ([]renewer.Event, error) {
	return []renewer.Event{{Seq: 1, Time: at(0), Type: renewer.EventProbeFailed, Certificate: "web", Message: steering + strings.Repeat("A", 99), Error: steering}}, nil
}

// What goes through a pipe is shown on a terminal in the end: by less, or by mail.
// Data stays as it is, and no text is cut.
func TestPipedTextDoesNotSteerATerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	srv, err := server.New(server.Options{Service: hostile{}, Socket: socket, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for _, line := range []string{"list", "list -o wide", "list -o csv", "history", "history -o csv", "history -o json"} {
		argv := strings.Fields(line)
		var out bytes.Buffer
		c := &cli{out: &out, errOut: &out, warned: true}
		root := newRoot(c, argv)
		root.SetArgs(append([]string{"--socket", socket}, argv...))
		if code := c.report(root.ExecuteContext(t.Context())); code != exitDone {
			t.Fatalf("%s: exit code %d: %s", line, code, &out)
		}
		if strings.HasSuffix(line, "json") {
			var got []renewer.Event
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got[0].Error != steering {
				t.Errorf("%s: %q, %v", line, &out, err)
			}
			continue
		}
		if at := strings.IndexAny(out.String(), "\u202e\u009b\x1b\u2066"); at >= 0 {
			t.Errorf("%s: %q", line, &out)
		}
		if argv[0] == "history" && !strings.Contains(out.String(), strings.Repeat("A", 99)) {
			t.Errorf("%s is cut: %q", line, &out)
		}
	}
}
