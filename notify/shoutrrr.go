package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/nicholas-fedor/shoutrrr/pkg/format"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"renewer/internal/secret"
	"renewer/renewer"
)

// Shoutrrr sends through one of the services of the library of that name.
//
// The library takes no context, reads answers without a bound, follows
// redirects and puts the URL into its errors. So it runs in a process of its
// own, which is ended when its time is up: this program again, at Deliver. The
// URL goes there on standard input.
type Shoutrrr struct {
	URLFile string
	Program string   // the path of this program
	Argv    []string // that leads to Deliver
}

// Send implements Sender.
func (s Shoutrrr) Send(ctx context.Context, m Message) error {
	return s.deliver(ctx, delivery{
		Title: m.Title, Text: m.Text, Level: m.level(), Fleet: m.Fleet, Page: m.Page, Remaining: m.Remaining,
		Notice: m.Test || len(m.Open)+len(m.Resolved) == 0,
	})
}

// Check implements Sender. The URL is read by its service, in the same process
// as messages are sent in.
func (s Shoutrrr) Check(ctx context.Context, reach bool) error {
	return s.deliver(ctx, delivery{Check: true, Reach: reach})
}

func (s Shoutrrr) deliver(ctx context.Context, d delivery) error {
	target, err := readSecret("shoutrrr URL", s.URLFile)
	if err != nil {
		return err
	}
	d.URL = target.Reveal()
	in, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	out, err := execute(ctx, s.Program, s.Argv, environment(), in)
	var failure deliveryFailure
	if err == nil {
		return nil
	}
	if json.Unmarshal(out, &failure) == nil && failure.Error != "" {
		err = renewer.WithHint(errors.New(failure.Error), failure.Hint)
	}
	return redact(err, target)
}

// environment is what the process gets: proxies and trust, nothing else.
func environment() (env []string) {
	for _, name := range []string{
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG", "GORACE",
	} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// delivery is what Deliver reads, deliveryFailure what it answers.
type (
	delivery struct {
		URL       string `json:"url"`
		Title     string `json:"title"`
		Text      string `json:"text"`
		Level     level  `json:"level"`
		Fleet     string `json:"fleet"`
		Page      string `json:"page"`
		Remaining int    `json:"remaining"` // problems that are open after it
		Notice    bool   `json:"notice"`    // it opens and resolves nothing
		Check     bool   `json:"check"`     // nothing is sent
		Reach     bool   `json:"reach"`     // with Check: connect
	}
	deliveryFailure struct {
		Error string `json:"error"`
		Hint  string `json:"hint,omitempty"`
	}
)

// deliverMemory is how much memory a delivery may take (RLIMIT_DATA).
const deliverMemory = 512 << 20

// Deliver is the other end of Shoutrrr: it reads a delivery, sends it, and
// writes why it failed, without the secrets of the URL, to out. It changes
// settings of the process and is the only thing that the process does.
func Deliver(in io.Reader, out io.Writer) error {
	var d delivery
	if err := json.NewDecoder(io.LimitReader(in, 1<<20)).Decode(&d); err != nil {
		return fmt.Errorf("read the delivery: %w", err)
	}
	err := redact(d.send(), secret.New(d.URL))
	if err != nil {
		_ = json.NewEncoder(out).Encode(deliveryFailure{err.Error(), renewer.Hint(err)}) // the error says it again
	}
	return err
}

func (d delivery) send() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the service failed: %v", p)
		}
	}()
	debug.SetMemoryLimit(deliverMemory / 2)
	limit := syscall.Rlimit{Cur: deliverMemory, Max: deliverMemory}
	_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &limit) // the deadline holds without it too
	made := make(chan error, 1)
	wrap := func(next http.RoundTripper) http.RoundTripper { return &guard{next: next} }
	if d.Check {
		once := new(sync.Once)
		wrap = func(next http.RoundTripper) http.RoundTripper { return attempt{d.Reach, next, once, made} }
	}
	guarded := wrap(http.DefaultTransport)
	http.DefaultTransport, http.DefaultClient = guarded, &http.Client{Transport: guarded, Timeout: sendTimeout}
	u, err := url.Parse(d.URL)
	if err != nil {
		return renewer.WithHint(fmt.Errorf("the shoutrrr URL cannot be used: %w", errNoURL), shoutrrrHint)
	}
	services := router.ServiceRouter{Timeout: sendTimeout}
	service, err := services.Locate(d.complete(*u))
	if err != nil && len(made) > 0 { // it would log in before it sends
		return <-made
	}
	if err != nil {
		return renewer.WithHint(fmt.Errorf("the shoutrrr URL cannot be used: %w", err), shoutrrrHint)
	}
	if service.GetID() == "logger" {
		return renewer.WithHint(errors.New("the service logger sends no message"), "name a service that does, such as ntfy://ntfy.example.com/TOPIC")
	}
	switch s := service.(type) { // those with a transport of their own
	case interface{ SetHTTPClient(c *http.Client) }:
		s.SetHTTPClient(http.DefaultClient)
	case interface{ GetHTTPClient() *http.Client }:
		c := s.GetHTTPClient()
		c.Transport = wrap(c.Transport)
	}
	if d.Check {
		return d.check(service, u, made)
	}
	own := types.Params(d.parameters(service.GetID(), u))
	params := types.Params{}
	maps.Copy(params, own)
	params.SetTitle(d.Title)
	err = service.Send(d.Text, &params)
	if err != nil && strings.Contains(err.Error(), format.ErrInvalidConfigKey.Error()) { // a service without titles; nothing is sent yet
		err = service.Send(d.Title+"\n\n"+d.Text, &own)
	}
	return err
}

const shoutrrrHint = "write it in the form that the documentation of shoutrrr gives for the service"

// homes are the servers of services for which the library has no default: without one
// in the URL it connects to port 0.
var homes = map[string]string{"pagerduty": "events.pagerduty.com", "opsgenie": "api.opsgenie.com"}

// complete returns the URL with the server that it stands for.
func (d delivery) complete(u url.URL) string {
	home, ok := homes[u.Scheme]
	if !ok || u.Port() != "" {
		return d.URL
	}
	u.Host = net.JoinHostPort(cmp.Or(u.Hostname(), home), "443")
	return u.String()
}

// check looks where the service would send a message, and connects there if
// that is asked for.
func (d delivery) check(service types.Service, u *url.URL, made <-chan error) error {
	switch {
	case !d.Reach:
		return nil
	case service.GetID() == "smtp": // it makes connections of its own
		return connect(context.Background(), u, nil)
	}
	sent := make(chan error, 1)
	go func() { sent <- service.Send("check", &types.Params{}) }() // it may try again; this process ends before
	select {
	case err := <-made:
		return err
	case err := <-sent:
		select {
		case err := <-made:
			return err
		default:
			return err // it did not come so far
		}
	}
}

// guard is a transport that follows no redirect and bounds answers.
type guard struct{ next http.RoundTripper }

// maxAnswer is how much of an answer a service gets to see.
const maxAnswer = 256 << 10

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 3 {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s answered %s: redirects are not followed", r.URL.Host, resp.Status)
	}
	resp.Body = &bounded{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

type bounded struct {
	io.Reader
	io.Closer
}
