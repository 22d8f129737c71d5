package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// Prefix begins the path of every route.
const Prefix = "/api/v1"

// route is one operation of the API. The server's mux, the calls of the client,
// openapi.json and docs/api.md are made from these.
type route struct {
	method  string
	path    string // below Prefix; {names} are fields of the request
	summary string
	form    form
	request reflect.Type // its fields are parameters of a GET, and else the body, by their JSON names
	answer  reflect.Type // of a list: one element
	local   bool         // of a GET: on the socket alone, because it opens files of the daemon's machine
	handle  func(*api, http.ResponseWriter, *http.Request)
}

// form is how an answer is written.
type form int

const (
	formValue form = iota // one JSON value
	formList              // a JSON array, sent as it is made
	formLines             // a JSON object a line: events, then the result
	formBytes
)

// acting reports whether a route may change something.
func (r *route) acting() bool { return r.method != http.MethodGet }

// onPort reports whether the HTTP port has it.
func (r *route) onPort() bool { return !r.acting() && !r.local }

// endpoint is a route with the types of its request and its answer.
type endpoint[Req, Ans any] struct{ *route }

type (
	none     struct{}
	progress = func(renewer.Event)
	byName   struct {
		Name string `json:"name"` // as renewer list has it, or that of an entry with one host
	}
	byChannel struct {
		Name string `json:"name"` // of the channel
	}
	byHost struct {
		Host string `json:"host"`
	}
	byIssuer struct {
		Issuer string `json:"issuer,omitempty"` // default: the only local one
	}
	byRoot struct {
		Root string `json:"root"`
	}
	byNames struct {
		Names []string `json:"names"`
	}
	adoption struct {
		Host        string `json:"host"` // as the fleet file names it
		Certificate string `json:"certificate"`
	}
)

// An answer has at most so many events; without a limit it has the newest someEvents.
const (
	mostEvents = 10_000
	someEvents = 1_000
)

// The routes that read: members of api.socket_group may use them, and the HTTP port
// has those that are not local.
var (
	list = endpoint[renewer.ListFilter, renewer.Row]{&route{
		method: http.MethodGet, path: "/certificates", summary: "List the certificates, soonest expiry first", form: formList,
		request: reflect.TypeFor[renewer.ListFilter](), answer: reflect.TypeFor[renewer.Row](), handle: (*api).list,
	}}
	show = reads("/certificates/{name}", "Show one certificate", func(s Service, ctx context.Context, r byName) (renewer.Detail, error) {
		return s.Show(ctx, r.Name)
	})
	hosts = reads("/hosts", "List the hosts and whether they can be reached", func(s Service, ctx context.Context, _ none) ([]renewer.HostStatus, error) {
		st, err := s.Status(ctx)
		return st.Hosts, err
	})
	issuers = reads("/issuers", "List the issuers, whether they answer, and their CAs", func(s Service, ctx context.Context, _ none) ([]renewer.IssuerStatus, error) {
		st, err := s.Status(ctx)
		return st.Issuers, err
	})
	events = reads("/events", "List the events of the audit log, oldest first", func(s Service, ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
		if f.Limit < 0 || f.Limit > mostEvents {
			return nil, requestError{fmt.Errorf("limit is %d; expected 1 to %d", f.Limit, mostEvents)}
		}
		if f.Limit == 0 {
			f.Limit = someEvents
		}
		found, err := s.Events(ctx, f)
		return append([]renewer.Event{}, found...), err
	})
	attention = reads("/problems", "List the problems that need attention, worst first", func(s Service, ctx context.Context, _ none) ([]renewer.Problem, error) {
		st, err := s.Status(ctx)
		return st.Problems, err
	})
	status = reads("/status", "Show daemon, scheduler, issuers, hosts, rollouts and problems", plainly(Service.Status))
	plan   = reads("/plan", "List what a run would do now and why", func(s Service, ctx context.Context, r renewer.PlanRequest) ([]renewer.PlanStep, error) {
		v, err := s.Plan(ctx, r)
		return append([]renewer.PlanStep{}, v.Steps...), err
	})
	planView = locally(reads("/plan/view", "Show the plan, edits of the fleet file, and certificates removed from it", Service.Plan))
	ahead    = reads("/forecast", "Forecast renewals, restarts and expiries", func(s Service, ctx context.Context, f foretold) (forecast.Forecast, error) {
		r, err := f.request()
		if err != nil {
			return forecast.Forecast{}, err
		}
		return s.Forecast(ctx, r)
	})
	trust  = reads("/trust", "Show which placements accept which certificates", Service.Trust)
	impact = reads("/impact", "Show which placements would refuse which certificates", Service.Impact)
	ca     = locally(reads("/ca", "Show the CA of a local issuer and its rotation", func(s Service, ctx context.Context, r byIssuer) (renewer.CAView, error) {
		return s.CA(ctx, r.Issuer)
	}))
	fleet = locally(reads("/fleet", "Show which fleet file the daemon uses", plainly(Service.FleetFile)))
)

// The routes that act: on the socket alone, for the user of the daemon and root.
var (
	runOnce = acts("/run", "Make one pass over everything that is due", func(s Service, ctx context.Context, _ none, p progress) (renewer.RunResult, error) {
		return s.RunOnce(ctx, p)
	})
	renew    = acts("/renew", "Renew now", Service.Renew)
	rollback = acts("/certificates/{name}/rollback", "Restore the previous generation", func(s Service, ctx context.Context, r byName, p progress) (renewer.RunResult, error) {
		return s.Rollback(ctx, r.Name, p)
	})
	revoke = acts("/revoke", "Revoke at the issuer", Service.Revoke)
	rotate = acts("/rotate", "Start or change the CA rotation of a local issuer", Service.Rotate)
	adopt  = acts("/hosts/{host}/adopt", "Adopt a certificate that is in place on a host", func(s Service, ctx context.Context, r adoption, _ progress) (renewer.Adoption, error) {
		return s.Adopt(ctx, r.Host, r.Certificate)
	})
	takeOver = acts("/take-over", "Take over the directories of a host (default: all hosts) from another renewer", func(s Service, ctx context.Context, r byHost, _ progress) ([]renewer.TakenOver, error) {
		return s.TakeOver(ctx, r.Host)
	})
	dropRoot = acts("/trust/drop", "Remove a foreign root from the ca files", func(s Service, ctx context.Context, r byRoot, _ progress) (renewer.RootDropped, error) {
		return s.DropRoot(ctx, r.Root)
	})
	forget     = acts("/forget", "Forget a certificate that was removed from the fleet file", quietly(Service.Forget))
	hostSetup  = acts("/hosts/{host}/setup", "Set a Docker host up for TLS", Service.HostSetup)
	notifyTest = acts("/channels/{name}/test", "Send one message through a channel", func(s Service, ctx context.Context, r byChannel, _ progress) (none, error) {
		return none{}, s.NotifyTest(ctx, r.Name)
	})
	hostPlan = asks("/hosts/{host}/plan", "Show what the setup of a Docker host would change", Service.HostPlan)
	verify   = asks("/verify", "Compare what is on disk and served with the inventory", func(s Service, ctx context.Context, r byNames) ([]renewer.Verification, error) {
		return s.Verify(ctx, r.Names)
	})
	doctor = asks("/doctor", "Diagnose one host, or all and the inventory", func(s Service, ctx context.Context, r byHost) ([]renewer.Finding, error) {
		return s.Doctor(ctx, r.Host)
	})
	backup = endpoint[none, []byte]{&route{
		method: http.MethodPost, path: "/backup", summary: "Copy the inventory, without keys", form: formBytes,
		request: reflect.TypeFor[none](), answer: reflect.TypeFor[[]byte](), handle: (*api).backup,
	}}
)

var routes = []*route{
	list.route, show.route, hosts.route, issuers.route, events.route, attention.route, status.route, plan.route, planView.route, ahead.route, trust.route, impact.route, ca.route, fleet.route,
	renew.route, runOnce.route, rollback.route, revoke.route, rotate.route, verify.route, adopt.route, takeOver.route, dropRoot.route, forget.route,
	hostPlan.route, hostSetup.route, doctor.route, notifyTest.route, backup.route,
}

// reads is a route that changes nothing.
func reads[Req, Ans any](path, summary string, do func(Service, context.Context, Req) (Ans, error)) endpoint[Req, Ans] {
	return endpoint[Req, Ans]{&route{
		method: http.MethodGet, path: path, summary: summary, request: reflect.TypeFor[Req](), answer: reflect.TypeFor[Ans](),
		handle: func(a *api, w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
			defer cancel()
			req, err := request[Req](w, r)
			if err != nil {
				a.failed(w, r, err)
				return
			}
			v, err := do(a.service, ctx, req)
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
		},
	}}
}

// acts is a route whose work goes on when its client leaves.
func acts[Req, Ans any](path, summary string, do func(Service, context.Context, Req, progress) (Ans, error)) endpoint[Req, Ans] {
	return streams(path, summary, func(a *api, r *http.Request, req Req, p progress) (Ans, error) {
		return do(a.service, a.byCaller(a.acts, r, path, req), req, p)
	})
}

// byCaller logs a request, and returns ctx with who made it.
func (a *api) byCaller(ctx context.Context, r *http.Request, path string, req any) context.Context {
	by := callerOf(r.Context()).operator(r.Header.Get(sudoHeader))
	asked, _ := json.Marshal(req) // plain values do not fail
	a.log.Info("request", "route", path, "by", by, "request", string(asked))
	return renewer.WithOperator(ctx, func() string { return by })
}

// asks is a route that looks at hosts, and ends with its client or the server.
func asks[Req, Ans any](path, summary string, do func(Service, context.Context, Req) (Ans, error)) endpoint[Req, Ans] {
	return streams(path, summary, func(a *api, r *http.Request, req Req, _ progress) (Ans, error) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(a.acts, cancel)()
		return do(a.service, ctx, req)
	})
}

func streams[Req, Ans any](path, summary string, do func(*api, *http.Request, Req, progress) (Ans, error)) endpoint[Req, Ans] {
	return endpoint[Req, Ans]{&route{
		method: http.MethodPost, path: path, summary: summary, form: formLines, request: reflect.TypeFor[Req](), answer: reflect.TypeFor[Ans](),
		handle: func(a *api, w http.ResponseWriter, r *http.Request) {
			req, err := request[Req](w, r)
			if err != nil {
				a.failed(w, r, err)
				return
			}
			streamEvents(a, w, r, func(p progress) (Ans, error) { return do(a, r, req, p) })
		},
	}}
}

func locally[Req, Ans any](e endpoint[Req, Ans]) endpoint[Req, Ans] {
	e.local = true
	return e
}

func plainly[Ans any](do func(Service, context.Context) (Ans, error)) func(Service, context.Context, none) (Ans, error) {
	return func(s Service, ctx context.Context, _ none) (Ans, error) { return do(s, ctx) }
}

func quietly[Req, Ans any](do func(Service, context.Context, Req) (Ans, error)) func(Service, context.Context, Req, progress) (Ans, error) {
	return func(s Service, ctx context.Context, r Req, _ progress) (Ans, error) { return do(s, ctx, r) }
}
