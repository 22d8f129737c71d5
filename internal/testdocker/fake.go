package testdocker

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// version is what dockerd 20.10.24 offers.
const version = "1.41"

// Fake answers on a unix socket as dockerd 20.10 does for the containers of the
// suite, with the texts that it was seen to send.
type Fake struct {
	// Fault, if set, answers a request in the daemon's place and reports that
	// it did.
	Fault func(w http.ResponseWriter, r *http.Request) bool

	// User and Mounts of containers, by name: what they run as, and what of the host
	// they have.
	User   map[string]string
	Mounts map[string][]string

	mu         sync.Mutex
	containers map[string]*state
	starts     int
}

type state struct {
	Status                      string
	Running, Paused, Restarting bool
	OOMKilled, Dead             bool
	Pid, ExitCode               int
	Error                       string
	StartedAt, FinishedAt       string
	Health                      *health `json:",omitempty"`
	log                         string
	processes                   int
}

type health struct {
	Status        string
	FailingStreak int
	Log           []check
}

type check struct {
	Start, End string
	ExitCode   int
	Output     string
}

// Start serves on a socket until the test ends.
func Start(t testing.TB, socket string) *Fake {
	t.Helper()
	f := &Fake{containers: map[string]*state{}}
	for name := range Script {
		f.start(name)
	}
	*f.containers[Stopped] = state{Status: "exited", ExitCode: 137, StartedAt: f.containers[Stopped].StartedAt}
	f.containers[Paused].Status, f.containers[Paused].Paused = "paused", true
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	var work sync.WaitGroup
	work.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); work.Wait() })
	return f
}

// start starts a container, the first time or again; the caller has the lock.
func (f *Fake) start(name string) {
	again := f.containers[name] != nil
	f.starts++
	st := &state{Status: "running", Running: true, Pid: 1000 + f.starts, StartedAt: time.Unix(int64(f.starts), 0).UTC().Format(time.RFC3339Nano), processes: 1}
	f.containers[name] = st
	switch {
	case name == Quits && again:
		*st = state{Status: "exited", ExitCode: 3, StartedAt: st.StartedAt, log: "cannot load the key\n"}
	case Check[name] != "":
		st.Health = &health{Status: "healthy"}
		if again {
			st.Health = &health{Status: "starting"}
		}
	}
}

// Started implements Docker.
func (f *Fake) Started(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.containers[name].StartedAt
}

// Processes sets how many processes a container has.
func (f *Fake) Processes(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers[name].processes = n
}

func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", version)
	w.Header().Set("Server", "Docker/20.10.24+dfsg1 (linux)")
	if f.Fault != nil && f.Fault(w, r) {
		return
	}
	if r.URL.Path == "/_ping" {
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v"+version+"/containers/")
	name, what, _ := strings.Cut(rest, "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	if rest == "json" {
		f.list(w)
		return
	}
	st := f.containers[strings.TrimPrefix(name, "id-of-")]
	switch {
	case !ok:
		refuse(w, http.StatusBadRequest, "client version is too new. Maximum supported API version is "+version)
	case st == nil:
		refuse(w, http.StatusNotFound, "No such container: "+name)
	default:
		f.serve(w, r, strings.TrimPrefix(name, "id-of-"), st, r.Method+" "+what)
	}
}

// list answers with the containers that run.
func (f *Fake) list(w http.ResponseWriter) {
	type mount struct{ Type, Source, Destination string }
	list := []map[string]any{}
	for name, st := range f.containers {
		mounts := []mount{}
		for _, source := range f.Mounts[name] {
			mounts = append(mounts, mount{"bind", source, source})
		}
		if st.Running {
			list = append(list, map[string]any{"Id": "id-of-" + name, "Names": []string{"/" + name}, "Mounts": mounts})
		}
	}
	answer(w, list)
}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request, name string, st *state, what string) {
	switch what {
	case "GET json":
		answer(w, map[string]any{
			"Id": "id-of-" + name, "Name": "/" + name, "State": st,
			"Config": map[string]any{"Tty": false, "User": f.User[name]}, "HostConfig": map[string]any{},
		})
		f.pass(name, st)
	case "POST restart":
		f.start(name)
		w.WriteHeader(http.StatusNoContent)
	case "POST kill":
		if !st.Running {
			refuse(w, http.StatusConflict, fmt.Sprintf("Cannot kill container: %s: Container id-of-%s is not running", name, name))
			return
		}
		if name == DiesOfIt && r.URL.Query().Get("signal") == "SIGHUP" {
			*st = state{Status: "exited", ExitCode: 129, StartedAt: st.StartedAt, log: "hangup\n"}
		}
		w.WriteHeader(http.StatusNoContent)
	case "GET logs":
		// A frame: stream, three zero bytes, length (Docker Engine API, ContainerAttach).
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(append([]byte{2, 0, 0, 0, 0, 0, 0, byte(len(st.log))}, st.log...))
	case "GET top":
		list := make([][]string, st.processes)
		for i := range list {
			list[i] = []string{fmt.Sprint(st.Pid + i)}
		}
		answer(w, map[string]any{"Titles": []string{"PID"}, "Processes": list})
	default:
		refuse(w, http.StatusNotFound, "page not found")
	}
}

// pass lets a healthcheck come to its end after it was seen starting.
func (f *Fake) pass(name string, st *state) {
	if st.Health == nil || st.Health.Status != "starting" {
		return
	}
	next := *st
	next.Health = &health{Status: "healthy"}
	if name == Ill {
		next.Health = &health{Status: "unhealthy", FailingStreak: 1, Log: []check{{Start: st.StartedAt, End: st.StartedAt, ExitCode: 1, Output: "no certificate\n"}}}
	}
	f.containers[name] = &next
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}
