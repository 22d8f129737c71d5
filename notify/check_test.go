package notify

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"renewer/renewer"
)

func TestCheckReadsWhatAChannelNeeds(t *testing.T) {
	t.Parallel()
	url, script := file(t, "https://hooks.example.com/hunter2"), file(t, "#!/bin/sh")
	for name, c := range map[string]struct {
		sender Sender
		want   string // in the error; empty: none
	}{
		"webhook":                   {Webhook{URLFile: url}, ""},
		"webhook with a key":        {Webhook{URLFile: url, HMACFile: file(t, hookKey)}, ""},
		"a URL file that is gone":   {Webhook{URLFile: "/nosuch/url"}, "URL of the webhook: read /nosuch/url"},
		"a URL that is none":        {Webhook{URLFile: file(t, "hooks.example.com/hunter2")}, "it is not a URL"},
		"a short key":               {Webhook{URLFile: url, HMACFile: file(t, "hunter2")}, "fewer than 16 bytes"},
		"shoutrrr":                  {shoutrrr(t, "ntfy://u:hunter2@ntfy.example.com/hunter2"), ""},
		"an unknown service":        {shoutrrr(t, "nosuch://hunter2@here"), "the shoutrrr URL cannot be used"},
		"a URL of the wrong form":   {shoutrrr(t, "pagerduty://hunter2"), "the shoutrrr URL cannot be used"},
		"an unknown parameter":      {shoutrrr(t, "ntfy://u:hunter2@ntfy.example.com/hunter2?prio=5"), "the shoutrrr URL cannot be used"},
		"a service that only logs":  {shoutrrr(t, "logger://hunter2"), "sends no message"},
		"exec":                      {Exec{[]string{"true"}}, ""},
		"a program that is nowhere": {Exec{[]string{"/nosuch/program"}}, "cannot be run"},
		"a file without the x bit":  {Exec{[]string{script}}, "permission denied"},
		"mail":                      {SMTP{Address: "mail.example.com:587", From: "a@example.com", To: []string{"b@example.com"}}, ""},
		"a recipient that is none":  {SMTP{Address: "mail.example.com:587", From: "a@example.com", To: []string{"b"}}, `recipient's address "b"`},
		"a CA file with no CA":      {SMTP{Address: "mail.example.com:587", From: "a@example.com", To: []string{"b@example.com"}, CAFile: file(t, "x")}, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Channel{Name: "ops", Sender: c.sender}.Check(t.Context(), false)
			switch {
			case err == nil && c.want == "":
			case err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "channel ops: "):
				t.Errorf("%v, want %q", err, c.want)
			case strings.Contains(err.Error()+renewer.Hint(err), "hunter2"):
				t.Errorf("it shows a secret: %v, %s", err, renewer.Hint(err))
			}
		})
	}
}

// To reach a channel's server is to connect to it: no request arrives.
func TestCheckConnectsAndSendsNothing(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	connected := make(chan struct{}, 100)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connected <- struct{}{}
		}
	}
	srv.Start()
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	senders := []Sender{
		Webhook{URLFile: file(t, srv.URL+"/hunter2")},
		shoutrrr(t, "ntfy://u:hunter2@"+host+"/topic?scheme=http"),
		shoutrrr(t, "generic://"+host+"/hunter2?disabletls=yes"),
		shoutrrr(t, "gotify://"+host+"/AAAAAAAAAAAAAAA?disabletls=yes"),
		shoutrrr(t, "mattermost://"+host+"/hunter2?disabletls=yes"),
	}
	for _, s := range senders {
		if err := s.Check(t.Context(), true); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for range senders {
		<-connected
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestCheckNamesWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secured := httptest.NewTLSServer(http.NotFoundHandler())
	defer secured.Close()
	host := strings.TrimPrefix(plain.URL, "http://")
	for url, want := range map[string]string{
		"http://127.0.0.1:1/hunter2": "connect to 127.0.0.1:1", "https://" + host + "/hunter2": "TLS with " + host, secured.URL + "/hunter2": "certificate",
	} {
		err := Channel{Name: "ops", Sender: Webhook{URLFile: file(t, url)}}.Check(t.Context(), true)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || renewer.Hint(err) == "" {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"ntfy://u:hunter2@127.0.0.1:1/topic?scheme=http": "refused", "ntfy://u:hunter2@" + host + "/topic": "TLS with", "smtp://u:hunter2@127.0.0.1:1/?from=a@b.c&to=d@e.f": "refused",
		"gotify://127.0.0.1:1/AAAAAAAAAAAAAAA": "refused",
		// The library has no default for the port of these.
		"pagerduty://127.0.0.1/0123456789abcdef0123456789abcdef": "127.0.0.1:443", "opsgenie://127.0.0.1/hunter2": "127.0.0.1:443",
	} {
		err := Channel{Name: "ops", Sender: shoutrrr(t, url)}.Check(t.Context(), true)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// A file that is no file, such as a FIFO, is refused and not waited for.
func TestCheckWaitsForNoPipe(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (Webhook{URLFile: dir}).Check(t.Context(), false); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}
