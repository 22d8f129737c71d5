package hosts

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testdocker"
	"renewer/internal/testpki"
	"renewer/renewer"
)

func guarded(a renewer.Activation, g renewer.DaguGuard) renewer.Placement {
	return renewer.Placement{Certificate: "worker", Host: "host-a", Activate: a, Guard: &renewer.Guard{Dagu: &g}}
}

var ofWorker = renewer.Activation{Kind: renewer.ActivateSystemd, Units: []string{"dagu-worker.service"}}

const active = "ActiveState=active MainPID=100 ControlGroup=/system.slice/dagu-worker.service"

func TestIdleByProcesses(t *testing.T) {
	t.Parallel()
	for transport, over := range machines {
		for name, c := range map[string]struct {
			unit  string
			files map[string]string // of cgroup.procs
			want  renewer.Work
			says  string
		}{
			"version 2, idle": {unit: active, files: map[string]string{"": "100\n"}, want: renewer.Work{Running: true}},
			"version 2, busy": {unit: active, files: map[string]string{"": "100\n101\n102\n"}, want: renewer.Work{Running: true, Active: 2}},
			"hybrid, busy":    {unit: active, files: map[string]string{"/unified": "100\n101\n"}, want: renewer.Work{Running: true, Active: 1}},
			"version 1, busy": {unit: active, files: map[string]string{"/systemd": "101\n100\n"}, want: renewer.Work{Running: true, Active: 1}},
			"delegated":       {unit: active, files: map[string]string{"": "", "//run-1": "100\n", "//run-2.scope": "101\n"}, want: renewer.Work{Running: true, Active: 1}},
			"stopped":         {unit: "ActiveState=inactive MainPID=0 ControlGroup="},
			"failed":          {unit: "ActiveState=failed MainPID=0 ControlGroup=/system.slice/dagu-worker.service"},
			"between starts":  {unit: "ActiveState=activating MainPID=0 ControlGroup=/system.slice/dagu-worker.service"},
			"nowhere":         {unit: active, says: "control group /system.slice/dagu-worker.service is in none of /sys/fs/cgroup"},
			"leads away":      {unit: "ActiveState=active MainPID=1 ControlGroup=/../../etc", says: "control group"},
		} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				root := memory(t)
				for at, text := range c.files {
					base, below, _ := strings.Cut(at, "//")
					testpki.WriteFile(t, filepath.Join(root, "/sys/fs/cgroup", base, "system.slice/dagu-worker.service", below, "cgroup.procs"), []byte(text), 0o644)
				}
				tr := over(t).Open(root)
				t.Cleanup(func() { must(t, tr.Close()) })
				h := New(renewer.Host{Name: "host-a"}, tr)
				systemctl(t, h, map[string]string{"dagu-worker.service": c.unit})
				got, err := h.Work(t.Context(), guarded(ofWorker, renewer.DaguGuard{By: renewer.IdleByProcesses}))
				if c.says != "" {
					if err == nil || !strings.Contains(err.Error(), c.says) {
						t.Errorf("error %v does not say %q", err, c.says)
					}
					return
				}
				must(t, err)
				c.want.What = "child processes of dagu-worker.service"
				equal(t, "work", got, c.want)
			})
		}
	}
}

// A control group that goes while it is read gives ENODEV, which SFTP calls no
// more than a failure; the service has been started again by then.
func TestIdleOfAUnitThatStartsAgainWhileItIsLookedAt(t *testing.T) {
	t.Parallel()
	root := memory(t)
	testpki.WriteFile(t, filepath.Join(root, "/sys/fs/cgroup/system.slice/dagu-worker.service/cgroup.procs"), []byte("100\n101\n"), 0o644)
	for at := 1; ; at++ {
		tr := &faults{Transport: Local(root), at: at, way: Once}
		h := New(renewer.Host{Name: "host-a"}, tr)
		systemctl(t, h, map[string]string{"dagu-worker.service": active})
		got, err := h.Work(t.Context(), guarded(ofWorker, renewer.DaguGuard{By: renewer.IdleByProcesses}))
		must(t, err)
		if !got.Running || got.Active != 1 {
			t.Errorf("operation %d failed once: %+v", at, got)
		}
		if tr.Ops < at {
			break
		}
	}
}

func TestIdleByProcessesOfAContainer(t *testing.T) {
	t.Parallel()
	for transport, over := range machines {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			b := newBoxes(t, over)
			b.Processes(testdocker.Healthy, 3)
			for name, want := range map[string]renewer.Work{
				testdocker.Steady: {Running: true}, testdocker.Healthy: {Running: true, Active: 2},
				testdocker.Stopped: {}, testdocker.Missing: {}, testdocker.Paused: {},
			} {
				got, err := b.Work(t.Context(), guarded(renewer.Activation{Kind: renewer.ActivateDocker, Container: name}, renewer.DaguGuard{By: renewer.IdleByProcesses}))
				must(t, err)
				want.What = "child processes of container " + name
				equal(t, "work", got, want)
			}
		})
	}
}

func TestIdleByCommand(t *testing.T) {
	t.Parallel()
	for transport, over := range machines {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			tr := over(t).Open(memory(t))
			t.Cleanup(func() { must(t, tr.Close()) })
			h := New(renewer.Host{Name: "host-a"}, tr)
			for status, want := range map[string]string{"0": "idle", "1": "busy", "2": "exit status 2", "127": "exit status 127"} {
				got, err := h.Work(t.Context(), guarded(renewer.Activation{Kind: renewer.ActivateCommand}, renewer.DaguGuard{
					By: renewer.IdleByCommand, Command: []string{"sh", "-c", "exit " + status},
				}))
				switch {
				case want == "idle" && err == nil && got.Running && got.Active == 0, want == "busy" && err == nil && got.Active == 1:
				case err != nil && strings.Contains(err.Error(), want):
				default:
					t.Errorf("status %s: %+v, %v", status, got, err)
				}
			}
		})
	}
}

func TestIdleByAPI(t *testing.T) {
	t.Parallel()
	worker := func(id string, busy, tasks int) map[string]any {
		return map[string]any{"id": id, "totalPollers": 100, "busyPollers": busy, "runningTasks": make([]struct{}, tasks), "healthStatus": "healthy"}
	}
	list := func(w ...any) any { return map[string]any{"workers": w, "errors": []string{}} }
	two := list(worker("host-a@77", 1, 2), worker("host-b@78", 0, 0))
	for name, c := range map[string]struct {
		worker string
		answer any
		status int
		want   int
		says   string
	}{
		"busy":             {worker: "host-a", answer: two, want: 2},
		"idle":             {worker: "host-b@78", answer: two},
		"all":              {worker: "*", answer: two, want: 2},
		"none known":       {worker: "host-c", answer: two, says: "does not list worker host-c"},
		"a longer name":    {worker: "host", answer: two, says: "does not list worker host"},
		"half an answer":   {worker: "host-b", answer: map[string]any{"workers": []any{worker("host-b", 0, 0)}, "errors": []string{"coordinator x: no answer"}}, says: "coordinator x: no answer"},
		"another API":      {worker: "*", answer: map[string]any{"dags": []int{}}, says: "is not a list of workers"},
		"refused":          {worker: "*", status: http.StatusUnauthorized, says: "401"},
		"a redirect":       {worker: "*", status: http.StatusFound, says: "302"},
		"the wrong secret": {worker: "*", says: "does not contain exactly one token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer sesame" || r.Method != http.MethodGet || r.URL.Path != "/api/v1/workers" {
					t.Errorf("%s %s with %q", r.Method, r.URL, got)
				}
				if c.status != 0 {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(c.status)
					return
				}
				_ = json.NewEncoder(w).Encode(c.answer)
			}))
			t.Cleanup(s.Close)
			dir := t.TempDir()
			token := "sesame\n"
			if name == "the wrong secret" {
				token = "open sesame\n"
			}
			testpki.WriteFile(t, dir+"/token", []byte(token), 0o600)
			testpki.WriteFile(t, dir+"/ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)
			h := New(renewer.Host{Name: "host-a"}, Local("/"))
			got, err := h.Work(t.Context(), guarded(renewer.Activation{Kind: renewer.ActivateCommand}, renewer.DaguGuard{
				By: renewer.IdleByAPI, URL: s.URL + "/api/v1/workers", Worker: c.worker, TokenFile: dir + "/token", CACert: dir + "/ca.pem",
			}))
			switch {
			case c.says == "":
				must(t, err)
				equal(t, "active", got.Active, c.want)
			case err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "sesame"):
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
	_, err := New(renewer.Host{Name: "host-a"}, Local("/")).Work(t.Context(), guarded(renewer.Activation{Kind: renewer.ActivateCommand}, renewer.DaguGuard{
		By: renewer.IdleByAPI, URL: "https://127.0.0.1:1/api/v1/workers", Worker: "*",
	}))
	if err == nil || !strings.Contains(err.Error(), "connection refused") || os.IsTimeout(err) {
		t.Errorf("error %v", err)
	}
}

// A step may have no process, and a run of the service's own no task: both count.
func TestIdleByAPICountsProcessesToo(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"workers": []any{map[string]any{"id": "host-a", "busyPollers": 1}}})
	}))
	t.Cleanup(s.Close)
	for procs, want := range map[string]int{"100\n": 1, "100\n101\n102\n": 3} {
		root := memory(t)
		testpki.WriteFile(t, filepath.Join(root, "/sys/fs/cgroup/system.slice/dagu-worker.service/cgroup.procs"), []byte(procs), 0o644)
		h := New(renewer.Host{Name: "host-a"}, Local(root))
		systemctl(t, h, map[string]string{"dagu-worker.service": active})
		got, err := h.Work(t.Context(), guarded(ofWorker, renewer.DaguGuard{By: renewer.IdleByAPI, URL: s.URL + "/api/v1/workers", Worker: "*"}))
		must(t, err)
		if got.Active != want || !strings.HasPrefix(got.What, "tasks of worker * and child processes of") {
			t.Errorf("%q: %+v", procs, got)
		}
	}
}
