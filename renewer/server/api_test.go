package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"renewer/internal/testapi"
	"renewer/renewer"
)

// Every answer, with a value in every field, is as openapi.json says.
func TestEveryAnswerIsAsDescribed(t *testing.T) {
	t.Parallel()
	schemas, source := testapi.Read(t, OpenAPI), describe(t)
	whole := func(of reflect.Type) any {
		v := reflect.New(of)
		source.fill(v.Elem(), 0)
		return v.Interface()
	}
	for _, rt := range routes {
		method, path := strings.ToLower(rt.method), Prefix+rt.path
		var v any
		contentType := "application/json"
		switch rt.form {
		case formValue:
			v = whole(rt.answer)
		case formList:
			v = []any{whole(rt.answer)}
		case formLines:
			contentType = "application/x-ndjson"
			v = map[string]any{"event": whole(reflect.TypeFor[renewer.Event]()), "result": whole(rt.answer), "error": whole(reflect.TypeFor[wireError]())}
		case formBytes:
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		schemas.Check(t, method, path, "200", contentType, b)
	}
}

// fill gives every field a value, and a slice or map one element; a type within itself
// ends after a few levels.
func (d *described) fill(v reflect.Value, depth int) {
	if depth > 20 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			*t = start
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				d.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.fill(v.Index(0), depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		d.fill(key, depth+1)
		d.fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
		if values := d.consts[v.Type().String()]; v.Type().PkgPath() != "" && len(values) > 0 {
			v.SetString(values[0])
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	}
}

func TestPortHasTheRoutesThatReadAndNoOther(t *testing.T) {
	t.Parallel()
	st := &fakeState{}
	s, _ := served(t, Options{Port: onLoopback, State: st, Metrics: NewMetrics("1", st), Service: &fakeService{
		list: func(_ context.Context, f renewer.ListFilter, y func(renewer.Row) error) error {
			return y(renewer.Row{Name: fmt.Sprint(f.ExpiringWithin, f.Status)})
		},
		show: func(_ context.Context, n string) (renewer.Detail, error) { return renewer.Detail{}, unknown(n) },
		plan: func(context.Context, renewer.PlanRequest) (renewer.PlanView, error) {
			return renewer.PlanView{Steps: []renewer.PlanStep{}}, nil
		},
		status: func(context.Context) (renewer.SystemStatus, error) {
			return renewer.SystemStatus{Problems: []renewer.Problem{{Name: "p"}}}, nil
		},
		events: func(_ context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
			if d := time.Since(f.Since) - 7*24*time.Hour; f.Limit != someEvents || d < 0 || d > time.Minute {
				t.Errorf("asked for %+v", f)
			}
			return nil, nil
		},
	}})
	for _, x := range []struct {
		method, path, want string
		status             int
	}{
		{"GET", "/certificates?expiring=2w&status=due", `[{"name":"336h0m0sdue"`, 200},
		{"HEAD", "/certificates", "", 200},
		{"GET", "/certificates/x", `{"title":"Not Found","status":404,"detail":"there is no x","hint":"look","class":"unknown"}`, 404},
		{"GET", "/certificates?expiring=soon", `"detail":"parameter expiring is \"soon\"; expected a duration such as 90s, 72h, 30d or 2w"`, 400},
		{"GET", "/plan", "[]", 200},
		{"GET", "/problems", `"name":"p"`, 200},
		{"GET", "/hosts", "null", 200},
		{"GET", "/events?since=7d", "[]", 200},
		{"GET", "/openapi.json", `"openapi": "3.1.0"`, 200},
		{"GET", "/backup", "the API has no", 404},
		{"GET", "/renew", "the API has no", 404},
		{"GET", "/ca", "/ca is on the socket alone", 404},
		{"GET", "/fleet", "/fleet is on the socket alone", 404},
		{"POST", "/renew", `"title":"Method Not Allowed","status":405,"detail":"the HTTP port is read only: it answers GET and HEAD, not POST"`, 405},
		{"POST", "/hosts/a/plan", "read only", 405},
		{"DELETE", "/certificates", "read only", 405},
		{"GET", "/", "the API has no", 404},
	} {
		status, body, head := ask(t, s, x.method, Prefix+x.path)
		if status != x.status || !strings.Contains(body, x.want) {
			t.Errorf("%s %s: got %d %q; want %d with %q", x.method, x.path, status, body, x.status, x.want)
		}
		if kind := head.Get("Content-Type"); status != 200 && kind != problemType {
			t.Errorf("%s %s: the error is %s", x.method, x.path, kind)
		}
		secured(t, x.method+" "+x.path, head)
	}
}

// A port that everybody may read does not have all of the daemon's processor.
func TestPortAnswersAFewAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int32
		a := &api{log: quiet, acts: t.Context(), service: &fakeService{plan: func(context.Context, renewer.PlanRequest) (renewer.PlanView, error) {
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			<-time.After(time.Second)
			return renewer.PlanView{}, nil
		}}}
		h := a.portHandler()
		begin := time.Now()
		var all sync.WaitGroup
		for range 2 * portAnswers {
			all.Go(func() {
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, Prefix+"/plan", nil)); rec.Code != http.StatusOK {
					t.Errorf("got %d", rec.Code)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); most.Load() != portAnswers || took != 2*time.Second {
			t.Errorf("%d at once, in %s", most.Load(), took)
		}
	})
}

func unknown(name string) error {
	return &renewer.Error{Class: renewer.ClassUnknown, Hint: "look", Err: fmt.Errorf("there is no %s", name)}
}

func TestClientGetsAllEventsInParts(t *testing.T) {
	t.Parallel()
	var log []renewer.Event
	for n := range uint64(2*mostEvents + 5) {
		log = append(log, renewer.Event{Seq: n + 1})
	}
	asked := 0
	c := connected(t, &fakeService{events: func(_ context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
		asked++
		some := log
		if f.Before > 0 {
			some = log[:f.Before-1]
		}
		if f.After > 0 {
			some = some[min(int(f.After), len(some)):]
			return some[:min(f.Limit, len(some))], nil
		}
		return some[max(0, len(some)-f.Limit):], nil
	}})
	for _, x := range []struct {
		filter        renewer.EventFilter
		first, n, ask int
	}{
		{renewer.EventFilter{}, 1, len(log), 3},
		{renewer.EventFilter{Limit: 10}, len(log) - 9, 10, 1},
		{renewer.EventFilter{Limit: mostEvents + 1}, mostEvents + 5, mostEvents + 1, 2},
		{renewer.EventFilter{After: mostEvents + 5}, mostEvents + 6, mostEvents, 2},
		{renewer.EventFilter{After: uint64(len(log))}, 0, 0, 1},
		{renewer.EventFilter{After: 3}, 4, len(log) - 3, 3},
		{renewer.EventFilter{After: 3, Limit: 2}, 4, 2, 1},
		{renewer.EventFilter{After: 3, Limit: mostEvents + 1}, 4, mostEvents + 1, 2},
	} {
		asked = 0
		got, err := c.Events(t.Context(), x.filter)
		if err != nil || len(got) != x.n || asked != x.ask || x.n > 0 && got[0].Seq != uint64(x.first) {
			t.Errorf("%+v: %d events in %d requests, %v; want %d in %d from %d", x.filter, len(got), asked, err, x.n, x.ask, x.first)
		}
		if !slices.IsSortedFunc(got, func(a, b renewer.Event) int { return int(a.Seq) - int(b.Seq) }) {
			t.Errorf("%+v: not in order", x.filter)
		}
	}
}

// A daemon goes on with the program that it was started with when that is replaced.
func TestDaemonOfAnotherVersionIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v1/status" {
			_, _ = w.Write([]byte(`{"daemon": {"running": true, "version": "v0.3.1"}}`))
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error": "the API has no GET /api/v1/plan"}`))
	})}
	ended := make(chan struct{})
	go func() { _ = old.Serve(l); close(ended) }()
	t.Cleanup(func() { _ = old.Close(); <-ended })
	c, err := Dial(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Plan(t.Context(), renewer.PlanRequest{})
	if err == nil || !strings.Contains(err.Error(), "is version v0.3.1") || !strings.Contains(renewer.Hint(err), "systemctl restart renewer") {
		t.Errorf("an older one: %v; %s", err, renewer.Hint(err))
	}

	s, _ := served(t, Options{Service: &fakeService{}, Version: "v9"})
	if c, err = Dial(s.socket.path, nil); err != nil {
		t.Fatal(err)
	}
	later := reads("/later", "A route that the daemon lacks", plainly(Service.FleetFile))
	if _, err = read(t.Context(), c, later, none{}); err == nil || !strings.Contains(err.Error(), "is version v9") {
		t.Errorf("one that lacks a route: %v", err)
	}
}
