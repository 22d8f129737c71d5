package hosts

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"renewer/internal/testdocker"
	"renewer/renewer"
)

// boxes is a host whose Docker daemon is the stand-in.
type boxes struct {
	*testdocker.Fake
	*Host
}

func newBoxes(t *testing.T, over func(t testing.TB) Machine) boxes {
	t.Helper()
	root, err := os.MkdirTemp("", "r") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	f := testdocker.Start(t, root+DockerSocket)
	tr := over(t).Open(root)
	t.Cleanup(func() { must(t, tr.Close()) })
	h := New(renewer.Host{Name: "host-a"}, tr)
	h.systemctl = "renewer-test-no-such-program"
	return boxes{f, h}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	for name, over := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testdocker.Suite(t, newBoxes(t, over))
		})
	}
}

func TestContainersThatCannotBeActivated(t *testing.T) {
	t.Parallel()
	a := renewer.Activation{Kind: renewer.ActivateDocker, Container: testdocker.Steady, Action: "restart", Timeout: 20 * time.Second}
	for name, over := range machines {
		for what, c := range map[string]struct {
			fault   func(http.ResponseWriter, *http.Request) bool
			says    string
			timeout time.Duration // where it is what ends it
		}{
			"a daemon that does not answer": {
				func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
				"not finished within its timeout of 300ms", 300 * time.Millisecond,
			},
			"a restart that takes too long": {
				func(_ http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, "/restart") {
						return false
					}
					<-r.Context().Done()
					return true
				}, "docker restart steady: not finished within its timeout of 3s", 3 * time.Second,
			},
			"a daemon that fails": {
				func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, "/restart") {
						return false
					}
					w.WriteHeader(http.StatusInternalServerError)
					_, _ = w.Write([]byte(`{"message":"Cannot restart container steady: driver failed programming external connectivity"}`))
					return true
				}, "driver failed programming external connectivity", 0,
			},
			"an answer without an end": {
				func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, "/json") {
						return false
					}
					spaces := []byte(strings.Repeat(" ", 64<<10))
					for range answerLimit/len(spaces) + 10 {
						if _, err := w.Write(spaces); err != nil {
							break
						}
					}
					return true
				}, "inspect container steady", 0,
			},
			"something else than an API": {
				func(w http.ResponseWriter, _ *http.Request) bool {
					http.Redirect(w, &http.Request{}, "http://192.0.2.1/", http.StatusFound)
					return true
				}, "inspect container steady", 0,
			},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				b := newBoxes(t, over)
				b.Fault = c.fault
				a := a
				if c.timeout > 0 {
					a.Timeout = c.timeout
				}
				did, err := b.Activate(t.Context(), a)
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "host host-a: activate: ") {
					t.Errorf("%+v, %v; want an error that says %q", did, err, c.says)
				}
			})
		}
	}
}

func TestADockerDaemonThatDoesNotRun(t *testing.T) {
	t.Parallel()
	a := renewer.Activation{Kind: renewer.ActivateDocker, Container: "web", Action: "restart"}
	for name, over := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBoxes(t, over)
			b.docker = "renewer-test-no-such-program"
			systemctl(t, b.Host, map[string]string{"docker.service": "LoadState=loaded ActiveState=inactive"})
			b.Fault = func(http.ResponseWriter, *http.Request) bool {
				t.Error("asked a daemon that systemd has stopped")
				return false
			}
			did, err := b.Activate(t.Context(), a)
			must(t, err)
			equal(t, "not running", did.NotRunning, "the Docker daemon (inactive)")

			tr := over(t).Open(memory(t))
			t.Cleanup(func() { must(t, tr.Close()) })
			h := New(renewer.Host{Name: "host-a"}, tr)
			h.systemctl = "renewer-test-no-such-program"
			did, err = h.Activate(t.Context(), a)
			must(t, err)
			equal(t, "not running", did.NotRunning, "the Docker daemon")
		})
	}
}

var _ testdocker.Docker = boxes{}

func (b boxes) Activate(ctx context.Context, a renewer.Activation) (renewer.Activated, error) {
	return b.Host.Activate(ctx, a)
}

// Those that run and have something of a directory, or a directory that it is in.
func TestContainersThatHaveFiles(t *testing.T) {
	t.Parallel()
	for name, over := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBoxes(t, over)
			b.User = map[string]string{testdocker.Steady: "1000:7"}
			b.Mounts = map[string][]string{
				testdocker.Steady:   {"/srv/tls", "/srv/other"},
				testdocker.Quits:    {"/srv/tls/tls.key"},
				testdocker.DiesOfIt: {"/srv"},
				testdocker.Ill:      {"/srv/tls2", "data"},
				testdocker.Stopped:  {"/srv/tls"},
			}
			got, err := b.Containers(t.Context(), "/srv/tls")
			must(t, err)
			slices.SortFunc(got, func(a, b renewer.Container) int { return strings.Compare(a.Name, b.Name) })
			for i := range got {
				if got[i].Started.IsZero() {
					t.Errorf("%s: when it was started is not known", got[i].Name)
				}
				got[i].Started = time.Time{}
			}
			want := []renewer.Container{
				{Name: testdocker.DiesOfIt, Sources: []string{"/srv"}},
				{Name: testdocker.Quits, Sources: []string{"/srv/tls/tls.key"}},
				{Name: testdocker.Steady, User: "1000:7", Sources: []string{"/srv/tls", "/srv/other"}},
			}
			slices.SortFunc(want, func(a, b renewer.Container) int { return strings.Compare(a.Name, b.Name) })
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
