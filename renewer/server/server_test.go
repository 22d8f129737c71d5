package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"renewer/renewer"
)

// fakeService is a Service of functions; the test sets those that it uses.
type fakeService struct {
	Service
	list     func(context.Context, renewer.ListFilter, func(renewer.Row) error) error
	show     func(context.Context, string) (renewer.Detail, error)
	status   func(context.Context) (renewer.SystemStatus, error)
	plan     func(context.Context, renewer.PlanRequest) (renewer.PlanView, error)
	renew    func(context.Context, renewer.RenewRequest, func(renewer.Event)) (renewer.RunResult, error)
	rollback func(context.Context, string, func(renewer.Event)) (renewer.RunResult, error)
	revoke   func(context.Context, renewer.RevokeRequest, func(renewer.Event)) ([]renewer.Revoked, error)
	verify   func(context.Context, []string) ([]renewer.Verification, error)
	events   func(context.Context, renewer.EventFilter) ([]renewer.Event, error)
	backup   func(context.Context, io.Writer) error
}

func (f *fakeService) List(ctx context.Context, l renewer.ListFilter, y func(renewer.Row) error) error {
	return f.list(ctx, l, y)
}

func (f *fakeService) Show(ctx context.Context, n string) (renewer.Detail, error) {
	return f.show(ctx, n)
}

func (f *fakeService) Status(ctx context.Context) (renewer.SystemStatus, error) { return f.status(ctx) }

func (f *fakeService) Plan(ctx context.Context, r renewer.PlanRequest) (renewer.PlanView, error) {
	return f.plan(ctx, r)
}

func (f *fakeService) Renew(ctx context.Context, r renewer.RenewRequest, p func(renewer.Event)) (renewer.RunResult, error) {
	return f.renew(ctx, r, p)
}

func (f *fakeService) RunOnce(ctx context.Context, p func(renewer.Event)) (renewer.RunResult, error) {
	return f.rollback(ctx, "everything", p)
}

func (f *fakeService) Rollback(ctx context.Context, n string, p func(renewer.Event)) (renewer.RunResult, error) {
	return f.rollback(ctx, n, p)
}

func (f *fakeService) Revoke(ctx context.Context, r renewer.RevokeRequest, p func(renewer.Event)) ([]renewer.Revoked, error) {
	return f.revoke(ctx, r, p)
}

func (f *fakeService) Adopt(_ context.Context, host, certificate string) (renewer.Adoption, error) {
	return renewer.Adoption{Host: host, Certificate: certificate, Warnings: []string{}}, nil
}

func (f *fakeService) Verify(ctx context.Context, n []string) ([]renewer.Verification, error) {
	return f.verify(ctx, n)
}

func (f *fakeService) Events(ctx context.Context, e renewer.EventFilter) ([]renewer.Event, error) {
	return f.events(ctx, e)
}

func (f *fakeService) HostPlan(_ context.Context, r renewer.SetupRequest) (renewer.HostPlan, error) {
	host := r.Host
	return renewer.HostPlan{Host: host, Changes: []renewer.FileChange{}, Notes: []string{}}, nil
}

func (f *fakeService) HostSetup(_ context.Context, r renewer.SetupRequest, _ func(renewer.Event)) (renewer.HostPlan, error) {
	host, digest := r.Host, r.Digest
	return renewer.HostPlan{Host: host, Digest: digest, Changes: []renewer.FileChange{}, Notes: []string{}}, nil
}

func (f *fakeService) Doctor(_ context.Context, host string) ([]renewer.Finding, error) {
	return []renewer.Finding{{Check: "reach", Host: host, Level: renewer.FindingOK}}, nil
}

func (f *fakeService) Backup(ctx context.Context, w io.Writer) error { return f.backup(ctx, w) }

var quiet = slog.New(slog.DiscardHandler)

// served runs a server for the test and returns it; stop ends it and waits.
func served(t *testing.T, o Options) (s *Server, stop func() error) {
	t.Helper()
	if o.Socket == "" {
		o.Socket = filepath.Join(t.TempDir(), "s")
	}
	o.Log = quiet
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var result error
	var once bool
	stop = func() error {
		if !once {
			once = true
			cancel()
			result = <-ended
		}
		return result
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s, stop
}

func connected(t *testing.T, f *fakeService) *Client {
	t.Helper()
	s, _ := served(t, Options{Service: f})
	c, err := Dial(s.socket.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatIsAskedAndAnsweredCrossesTheSocketUnchanged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	filter := renewer.ListFilter{ExpiringWithin: 30 * 24 * time.Hour, Host: "host b&c", Issuer: "fleet-ca", Status: renewer.StatusDue}
	events := renewer.EventFilter{After: 7, Before: 900, Since: start.Add(123456789), Certificate: "docker", Rollouts: []string{"a#1", "b@c#2"}, Limit: 9}
	request := renewer.RenewRequest{Names: []string{"docker@host-b"}, Force: true, NoWait: true, ExpiringWithin: time.Hour, All: true}
	result := renewer.RunResult{Rollouts: []renewer.RolloutResult{{Certificate: "docker@host-b", Rollout: "docker@host-b#1", Generation: 4, Result: renewer.ResultVerified}}}
	event := renewer.Event{Seq: 8, Time: start, Type: renewer.EventStaged, Certificate: "docker@host-b", Message: "a\nb"}
	detail := renewer.Detail{Row: row("docker@host-b", "host-b"), LastError: "none"}
	system := renewer.SystemStatus{Daemon: renewer.DaemonStatus{Running: true, PID: 7}, Counts: map[renewer.Status]int{renewer.StatusValid: 2}}
	plan := renewer.PlanView{Steps: []renewer.PlanStep{{Certificate: "docker@host-b", Action: "issue", Reason: "why"}}, File: "renewer.yaml", Certificates: 2}
	found := []renewer.Verification{{Certificate: "docker@host-b", Problems: []string{"mode"}}}
	revoke := renewer.RevokeRequest{Name: "docker@host-b", Generation: 3, Reason: renewer.RevokedKeyCompromise, Replace: true}
	gone := []renewer.Revoked{{Certificate: "docker@host-b", Generation: 3, RevokedAt: start, ServedBy: []string{"host-b"}, Notes: []string{"a note"}, Hint: "a hint"}}
	asked := map[string]any{}
	c := connected(t, &fakeService{
		list: func(_ context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error {
			asked["list"] = f
			return errors.Join(yield(row("a", "x")), yield(row("b", "y")))
		},
		show:   func(_ context.Context, n string) (renewer.Detail, error) { asked["show"] = n; return detail, nil },
		status: func(context.Context) (renewer.SystemStatus, error) { return system, nil },
		plan: func(_ context.Context, r renewer.PlanRequest) (renewer.PlanView, error) {
			asked["plan"] = r
			return plan, nil
		},
		renew: func(_ context.Context, r renewer.RenewRequest, p func(renewer.Event)) (renewer.RunResult, error) {
			asked["renew"] = r
			p(event)
			return result, nil
		},
		rollback: func(_ context.Context, n string, p func(renewer.Event)) (renewer.RunResult, error) {
			asked["rollback"] = n
			p(event)
			p(event)
			return result, nil
		},
		revoke: func(_ context.Context, r renewer.RevokeRequest, p func(renewer.Event)) ([]renewer.Revoked, error) {
			asked["revoke"] = r
			p(event)
			return gone, nil
		},
		verify: func(_ context.Context, n []string) ([]renewer.Verification, error) {
			asked["verify"] = n
			return found, nil
		},
		events: func(_ context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
			asked["events"] = f
			return []renewer.Event{event}, nil
		},
		backup: func(_ context.Context, w io.Writer) error {
			_, err := w.Write(bytes.Repeat([]byte{0, 1, 2, 3}, 100_000))
			return err
		},
	})
	equal := func(what string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	var rows []string
	err := c.List(ctx, filter, func(r renewer.Row) error { rows = append(rows, r.Name); return nil })
	equal("list", []string{"a", "b"}, rows, err)
	equal("list filter", filter, asked["list"], nil)
	d, err := c.Show(ctx, "docker@host-b")
	equal("show", detail, d, err)
	equal("show name", "docker@host-b", asked["show"], nil)
	st, err := c.Status(ctx)
	equal("status", system, st, err)
	p, err := c.Plan(ctx, renewer.PlanRequest{Loaded: true})
	equal("plan", plan, p, err)
	equal("plan request", renewer.PlanRequest{Loaded: true}, asked["plan"], nil)
	ev, err := c.Events(ctx, events)
	equal("events", []renewer.Event{event}, ev, err)
	equal("event filter", events, asked["events"], nil)
	var seen []renewer.Event
	res, err := c.Renew(ctx, request, func(e renewer.Event) { seen = append(seen, e) })
	equal("renew", result, res, err)
	equal("renew request", request, asked["renew"], nil)
	equal("progress", []renewer.Event{event}, seen, nil)
	res, err = c.Rollback(ctx, "../docker@host-b/x", nil)
	equal("rollback", result, res, err)
	equal("rollback name", "../docker@host-b/x", asked["rollback"], nil)
	again, err := c.RunOnce(t.Context(), func(renewer.Event) {})
	equal("one pass", again, res, err)
	equal("one pass is asked for", "everything", asked["rollback"], nil)
	seen = nil
	revoked, err := c.Revoke(ctx, revoke, func(e renewer.Event) { seen = append(seen, e) })
	equal("revoke", gone, revoked, err)
	equal("revocation request", revoke, asked["revoke"], nil)
	equal("progress of the replacement", []renewer.Event{event}, seen, nil)
	v, err := c.Verify(ctx, []string{"docker"})
	equal("verify", found, v, err)
	equal("verify names", []string{"docker"}, asked["verify"], nil)
	hp, err := c.HostPlan(ctx, renewer.SetupRequest{Host: "host-b"})
	equal("host plan", "host-b", hp.Host, err)
	hp, err = c.HostSetup(ctx, renewer.SetupRequest{Host: "host-b", Digest: "d1"}, nil)
	equal("host setup", "d1", hp.Digest, err)
	doc, err := c.Doctor(ctx, "host-b")
	equal("doctor", []renewer.Finding{{Check: "reach", Host: "host-b", Level: renewer.FindingOK}}, doc, err)
	var copied bytes.Buffer
	err = c.Backup(ctx, &copied)
	equal("backup", 400_000, copied.Len(), err)
}

func TestListOfNothingIsAnEmptyArray(t *testing.T) {
	t.Parallel()
	c := connected(t, &fakeService{list: func(context.Context, renewer.ListFilter, func(renewer.Row) error) error { return nil }})
	resp, err := c.do(t.Context(), list.route, renewer.ListFilter{})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "[]\n" {
		t.Errorf("got %q", b)
	}
	if err := c.List(t.Context(), renewer.ListFilter{}, func(renewer.Row) error { return errors.New("a row") }); err != nil {
		t.Error(err)
	}
}

func TestErrorsKeepHintAndClass(t *testing.T) {
	t.Parallel()
	fault := fmt.Errorf("sign docker: %w", &renewer.Error{Class: renewer.ClassRefused, Hint: "ask for less", Err: errors.New("too long\nby far")})
	many := func(n int, then error) *fakeService {
		return &fakeService{
			list: func(_ context.Context, _ renewer.ListFilter, y func(renewer.Row) error) error {
				for range n {
					if err := y(row("a", "b")); err != nil {
						return err
					}
				}
				return then
			},
			show: func(context.Context, string) (renewer.Detail, error) { return renewer.Detail{}, then },
			renew: func(context.Context, renewer.RenewRequest, func(renewer.Event)) (renewer.RunResult, error) {
				return renewer.RunResult{Rollouts: []renewer.RolloutResult{{Certificate: "a"}}}, then
			},
			backup: func(_ context.Context, w io.Writer) error {
				_, err := w.Write(make([]byte, 100*n))
				return errors.Join(err, then)
			},
		}
	}
	all := func(n int) {
		c := connected(t, many(n, fault))
		_, show := c.Show(t.Context(), "a")
		res, renew := c.Renew(t.Context(), renewer.RenewRequest{}, nil)
		if len(res.Rollouts) != 1 {
			t.Error("what was done until the error is lost")
		}
		rows := 0
		for what, err := range map[string]error{
			"show": show, "renew": renew,
			"list":   c.List(t.Context(), renewer.ListFilter{}, func(renewer.Row) error { rows++; return nil }),
			"backup": c.Backup(t.Context(), io.Discard),
		} {
			if err == nil || err.Error() != fault.Error() || renewer.Hint(err) != "ask for less" || renewer.ClassOf(err) != renewer.ClassRefused {
				t.Errorf("%s after %d: %v, hint %q, class %q", what, n, err, renewer.Hint(err), renewer.ClassOf(err))
			}
		}
		if n > 500 && rows == 0 {
			t.Error("no row came before the error")
		}
	}
	all(0)    // nothing sent yet: an ordinary error
	all(2000) // in the middle of the stream: a trailer
}

func TestLongErrorInTheMiddleOfAStreamArrives(t *testing.T) {
	t.Parallel()
	c := connected(t, &fakeService{backup: func(_ context.Context, w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return errors.Join(err, renewer.WithHint(errors.New(strings.Repeat("é\x01", 9000)), strings.Repeat("<", 9000)))
	}})
	err := c.Backup(t.Context(), io.Discard)
	if err == nil || !strings.HasPrefix(err.Error(), "é") || renewer.Hint(err) == "" {
		t.Errorf("got %.100v", err)
	}
}

// A connection that dies is never a whole answer, wherever it dies.
func TestCutStreamIsAnError(t *testing.T) {
	t.Parallel()
	whole := connected(t, &fakeService{
		list: func(_ context.Context, _ renewer.ListFilter, y func(renewer.Row) error) error {
			return errors.Join(y(row("a", "b")), y(row("a", "b")))
		},
		backup: func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "0123456789"); return err },
		renew: func(_ context.Context, _ renewer.RenewRequest, p func(renewer.Event)) (renewer.RunResult, error) {
			p(renewer.Event{Seq: 1})
			return renewer.RunResult{}, nil
		},
	})
	calls := map[string]func(*Client) error{
		"list": func(c *Client) error {
			return c.List(t.Context(), renewer.ListFilter{}, func(renewer.Row) error { return nil })
		},
		"backup": func(c *Client) error { return c.Backup(t.Context(), io.Discard) },
		"renew": func(c *Client) error {
			_, err := c.Renew(t.Context(), renewer.RenewRequest{}, nil)
			return err
		},
	}
	for what, call := range calls {
		if err := call(whole); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		answer := record(t, whole.socket, what)
		var part atomic.Pointer[[]byte]
		c, err := Dial(replay(t, &part), nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(answer) - 2 { // the last line break is no part of the answer
			cut := answer[:n]
			part.Store(&cut)
			if err := call(c); err == nil && !bytes.Contains(answer[:n], []byte(`"result":`)) {
				t.Fatalf("%s: the first %d of %d bytes pass for a whole answer: %q", what, n, len(answer), answer[:n])
			}
		}
	}
}

// record returns the raw answer to one request.
func record(t *testing.T, socket, what string) []byte {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := map[string]string{
		"list":   "GET /api/v1/certificates HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"backup": "POST /api/v1/backup HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"renew":  "POST /api/v1/renew HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
	}[what]
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replay answers every connection with the same bytes.
func replay(t *testing.T, answer *atomic.Pointer[[]byte]) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n, _ := c.Read(make([]byte, 4096)); n > 0 {
				_, _ = c.Write(*answer.Load())
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

func TestClientThatLeavesEndsTheWaitAndNotTheRenewal(t *testing.T) {
	t.Parallel()
	began, ended, goOn := make(chan struct{}), make(chan error, 1), make(chan struct{})
	c := connected(t, &fakeService{renew: func(ctx context.Context, _ renewer.RenewRequest, p func(renewer.Event)) (renewer.RunResult, error) {
		p(renewer.Event{Seq: 1})
		close(began)
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		p(renewer.Event{Seq: 2})
		ended <- ctx.Err()
		return renewer.RunResult{}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := c.Renew(ctx, renewer.RenewRequest{}, nil); left <- err }()
	<-began
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("the renewal was ended: %v", err)
	}
}

func TestStopTellsThoseWhoWait(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	s, stop := served(t, Options{Service: &fakeService{renew: func(ctx context.Context, _ renewer.RenewRequest, _ func(renewer.Event)) (renewer.RunResult, error) {
		close(began)
		<-ctx.Done()
		return renewer.RunResult{}, ctx.Err()
	}}})
	c, err := Dial(s.socket.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() { _, err := c.Renew(t.Context(), renewer.RenewRequest{}, nil); told <- err }()
	<-began
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := <-told; err == nil || err.Error() != errStopping.Error() || renewer.Hint(err) == "" {
		t.Errorf("the client got %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after the stop: %v", err)
	}
	if _, err := os.Lstat(s.socket.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestWaitIsKeptAliveByBlankLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{log: quiet, acts: t.Context()}
		rec := httptest.NewRecorder()
		began := time.Now()
		streamEvents(a, rec, httptest.NewRequest(http.MethodPost, Prefix+"/renew", nil), func(func(renewer.Event)) (renewer.RunResult, error) {
			<-time.After(4*heartbeat + time.Second)
			return renewer.RunResult{}, nil
		})
		if took := time.Since(began); took != 4*heartbeat+time.Second || heartbeat >= clientPatience/2 {
			t.Errorf("took %v", took)
		}
		if want := "\n\n\n\n{\"result\":{\"rollouts\":null}}\n"; rec.Body.String() != want {
			t.Errorf("got %q, want %q", rec.Body, want)
		}
	})
}

func TestPanicOfARequestStaysThere(t *testing.T) {
	t.Parallel()
	c := connected(t, &fakeService{
		renew: func(context.Context, renewer.RenewRequest, func(renewer.Event)) (renewer.RunResult, error) {
			panic("nil host")
		},
		plan: func(context.Context, renewer.PlanRequest) (renewer.PlanView, error) { return renewer.PlanView{}, nil },
	})
	if _, err := c.Renew(t.Context(), renewer.RenewRequest{}, nil); err == nil || !strings.Contains(err.Error(), "nil host") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Plan(t.Context(), renewer.PlanRequest{}); err != nil {
		t.Error(err)
	}
}

func TestAPIRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := connected(t, &fakeService{})
	for _, x := range []struct {
		method, path, body, want string
		status                   int
	}{
		{"GET", "/", "", "the API has no GET /", 404},
		{"GET", "/api/v1/", "", "the API has no GET /api/v1/", 404},
		{"GET", "/api/v1/renew", "", "the API has no GET /api/v1/renew", 404},
		{"DELETE", "/api/v1/certificates/a", "", "the API has no DELETE", 404},
		{"GET", "/api/v2/status", "", "the API has no GET /api/v2/status", 404},
		{"GET", "/v1/status", "", "this command is from an older version", 404},
		{"GET", "/api/v1/certificates?expires=1h", "", `unknown parameter \"expires\"`, 400},
		{"GET", "/api/v1/certificates?expiring=30", "", `parameter expiring is \"30\"; expected a duration`, 400},
		{"GET", "/api/v1/certificates?host=a&host=b", "", "expected one value", 400},
		{"GET", "/api/v1/certificates?status=fine", "", "expected one of pending valid", 400},
		{"GET", "/api/v1/plan?x=1", "", `unknown parameter \"x\"`, 400},
		{"GET", "/api/v1/events?limit=x", "", "expected a number", 400},
		{"GET", "/api/v1/events?limit=10001", "", "expected 1 to 10000", 400},
		{"GET", "/api/v1/events?since=yesterday", "", "or how long ago", 400},
		{"POST", "/api/v1/renew", `{"nmaes": []}`, `unknown field \"nmaes\"`, 400},
		{"POST", "/api/v1/renew", `{} {}`, "more than one value", 400},
		{"POST", "/api/v1/verify", `{"names": ["` + strings.Repeat("a", maxBody) + `"]}`, "too large", 400},
	} {
		req, err := http.NewRequestWithContext(t.Context(), x.method, "http://renewer"+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != x.status || !strings.Contains(string(b), x.want) {
			t.Errorf("%s %s: got %d %s; want %d with %q", x.method, x.path, resp.StatusCode, b, x.status, x.want)
		}
	}
}
