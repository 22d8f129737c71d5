package page

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"renewer/internal/testfleet"
	"renewer/renewer"
)

var now = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

func handler(s Source) http.Handler {
	return Handler(Options{Source: s, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
}

func get(t testing.TB, s Source, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	handler(s).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

// text is what a reader sees of a page.
func text(page string) string {
	page = regexp.MustCompile(`(?s)<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(html.UnescapeString(page)), " ")
}

func TestEveryProblemIsShownWithItsCommand(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	f.Status.Daemon.LastCheck, f.Status.Daemon.FleetError = now.Add(-time.Hour), "renewer.yaml:3:1: unknown key"
	_, page := get(t, f, "/")
	got := text(page)
	at := 0
	for _, want := range []string{ // the worst first
		"11 things need attention",
		"renewer : has not checked what is due for 1 h; at most 30 min is expected", "renewer status",
		"docker@host-d : expired 2 d ago", "renewer show docker@host-d renewer renew docker@host-d",
		"old-agent : is revoked and still in place", "renewer renew old-agent",
		"renewer : refused the fleet file renewer.yaml:3:1: unknown key", "renewer check",
		"docker@host-e : rolled back on host-e, blocked for 3 h, next automatic retry in 10 d", "tells why", "renewer show docker@host-e renewer doctor host-e renewer renew docker@host-e",
		"web : was changed on host-f; renewer restores it", "renewer verify web",
		"host-d : cannot be reached dial 10.0.1.4:22: no route to host", "renewer doctor host-d",
		"fleet-ca : replacement of its CA blocked at stage add_root for 2 h docker@host-d does not have the root", "renewer ca show fleet-ca",
		"fleet-ca : CA CN=Fleet root,O=Example expires in 61 d", "renewer ca show fleet-ca",
		"corp-step : down", "renewer check --online",
		"hook : notification failed, not delivering", "renewer notify test hook",
		"Rollouts in progress docker@host-c", "activated host-c",
	} {
		i := strings.Index(got[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing, or in another place, in\n%s", want, got)
		}
		at += i
	}
	if _, page = get(t, testfleet.Well(now, 3), "/"); !strings.Contains(text(page), "All is well: 3 certificates valid and proven in place") {
		t.Errorf("a fleet that is well: %s", text(page))
	}
	if _, page = get(t, &testfleet.Fleet{}, "/"); !strings.Contains(text(page), "has no certificates yet") {
		t.Errorf("an empty fleet: %s", text(page))
	}
}

func TestCertificateIsDecoded(t *testing.T) {
	t.Parallel()
	_, page := get(t, testfleet.EveryState(now), "/certificates/docker@host-e")
	got := text(strings.ReplaceAll(page, "<wbr>", ""))
	for _, want := range []string{
		"blocked expires in 27 d 2026-12-19 05:00", "Leaf CN=host-e", "Intermediate CN=Fleet intermediate,O=Example", "docker@host-e.example.com 10.0.1.2",
		"digitalSignature", "serverAuth", "keyCertSign, cRLSign", "ecdsa-p256", "ECDSA-SHA256", "Serial " + testfleet.Hex("docker@host-e serial")[:32],
		"SHA-256 " + testfleet.Hex("docker@host-e"), "/etc/docker/tls/server-cert.pem", "systemd restart docker.service", "3 ✓ current", "rolled back",
		"Last rollout", "journalctl -u docker.service -n 50 on host-e tells why",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Count(page, `class="lane`) != 3 {
		t.Error("the generations are not drawn")
	}
}

var rowName = regexp.MustCompile(`<tr role="row" id="c-([^"]*)"`)

func names(page string) (out []string) {
	for _, m := range rowName.FindAllStringSubmatch(page, -1) {
		out = append(out, html.UnescapeString(m[1]))
	}
	return out
}

func TestListIsSearchedAndFiltered(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	serial := f.Details["web"].Serial
	for query, want := range map[string]string{
		"":                                    "docker@host-d docker@host-e dagu-coordinator docker@host-c dagu-worker dagster-client old-agent web docker@host-b new-service",
		"q=DOCKER@":                           "docker@host-d docker@host-e docker@host-c docker@host-b",
		"q=web.example":                       "web",
		"q=" + serial[:8]:                     "web",
		"q=" + serial[:2] + ":" + serial[2:6]: "web",
		"q=nothing+has+this":                  "",
		"status=blocked":                      "docker@host-e",
		"status=attention":                    "docker@host-d docker@host-e old-agent web",
		"status=nonsense&issuer=":             "docker@host-d docker@host-e dagu-coordinator docker@host-c dagu-worker dagster-client old-agent web docker@host-b new-service",
		"issuer=corp-step":                    "new-service",
		"host=host-f":                         "dagu-worker web",
		"expiring=30d":                        "docker@host-d docker@host-e dagu-coordinator",
		"expiring=30d&status=due&q=dagu":      "dagu-coordinator",
		"page=7":                              "docker@host-d docker@host-e dagu-coordinator docker@host-c dagu-worker dagster-client old-agent web docker@host-b new-service",
		"page=-1&q=%ff%fe":                    "docker@host-d docker@host-e dagu-coordinator docker@host-c dagu-worker dagster-client old-agent web docker@host-b new-service",
	} {
		status, page := get(t, f, "/?"+query)
		if got := strings.Join(names(page), " "); status != 200 || got != want {
			t.Errorf("?%s: %d, got %s\nwant %s", query, status, got, want)
		}
	}
}

func TestEveryCertificateIsOnOnePage(t *testing.T) {
	t.Parallel()
	f := testfleet.Well(now, 2*perPage+7)
	seen := map[string]int{}
	next := regexp.MustCompile(`<a rel="next" href="([^"]*)"`)
	path := "/?q=docker"
	for pages := 0; path != ""; pages++ {
		if pages > 3 {
			t.Fatal("there is no end")
		}
		_, page := get(t, f, path)
		for _, n := range names(page) {
			seen[n]++
		}
		path = ""
		if m := next.FindStringSubmatch(page); m != nil {
			path, _, _ = strings.Cut(html.UnescapeString(m[1]), "#")
		}
	}
	if len(seen) != 2*perPage+7 {
		t.Errorf("%d certificates were seen", len(seen))
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%s was seen %d times", n, times)
		}
	}
}

func TestEventsArePaged(t *testing.T) {
	t.Parallel()
	f := testfleet.Well(now, 1)
	f.Log = nil
	for i := range 2*perEvents + 5 {
		f.Log = append(f.Log, renewer.Event{Seq: uint64(i + 1), Time: now, Type: renewer.EventVerified, Certificate: fmt.Sprint("c", i%2)})
	}
	id := regexp.MustCompile(`id="event-(\d+)"`)
	for path, want := range map[string]string{
		"/events": "205 … 106", "/events?before=106": "105 … 6", "/events?before=6": "5 … 1", "/events?before=nonsense": "205 … 106", "/events?certificate=c1": "204 … 6",
	} {
		_, page := get(t, f, path)
		all := id.FindAllStringSubmatch(page, -1)
		if got := all[0][1] + " … " + all[len(all)-1][1]; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// allowedTags are the elements of the templates that run or load something.
var dangerous = regexp.MustCompile(`(?i)<(script|style|iframe|img|object|embed|base|link|meta|form)\b[^>]*>`)

var (
	tag    = regexp.MustCompile(`<[a-z][^>]*>`)
	quoted = regexp.MustCompile(`"[^"]*"`)
	acts   = regexp.MustCompile(`(?i)\s(on[a-z]+|style|srcdoc|autofocus)\s*=`)
	leads  = regexp.MustCompile(`(?i)(href|src|action)="\s*(javascript|data):`)
)

func TestNothingFromOutsideBecomesMarkup(t *testing.T) {
	t.Parallel()
	f := testfleet.Hostile(now)
	tame := testfleet.EveryState(now)
	_, plain := get(t, tame, "/")
	want := len(dangerous.FindAllString(plain, -1))
	paths := []string{"/", "/issuers", "/trust", "/hosts", "/events"}
	for _, name := range testfleet.Hostiles {
		paths = append(paths, "/?q="+url.QueryEscape(name)+"&host="+url.QueryEscape(name), "/certificates/"+url.PathEscape(name),
			"/hosts/"+url.PathEscape(name), "/hosts?q="+url.QueryEscape(name), "/events?certificate="+url.QueryEscape(name))
	}
	for _, path := range paths {
		status, page := get(t, f, path)
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		if got := dangerous.FindAllString(page, -1); len(got) > want {
			t.Errorf("%s: %q", path, got)
		}
		for _, m := range tag.FindAllString(page, -1) {
			if acts.MatchString(quoted.ReplaceAllString(m, `""`)) || leads.MatchString(m) {
				t.Errorf("%s: %s", path, m)
			}
		}
	}
}

type broken struct{ testfleet.Fleet }

func (*broken) System(context.Context) (renewer.SystemStatus, error) {
	return renewer.SystemStatus{}, errors.New("database not open")
}

func TestWhatFailsIsAPageAndNotHalfOfOne(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/hosts", "/hosts/a", "/issuers", "/trust", "/events", "/certificates/a"} {
		if status, page := get(t, &broken{}, path); status != 500 || !strings.Contains(text(page), "database not open") || !strings.HasSuffix(page, "</html>\n") {
			t.Errorf("%s: %d %s", path, status, page)
		}
	}
}

func TestAssetsAreAskedForOnce(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	h := handler(&testfleet.Fleet{})
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/assets/page.css", nil))
	req := httptest.NewRequest(http.MethodGet, "/assets/page.css", nil)
	req.Header.Set("If-None-Match", rec.Header().Get("ETag"))
	again := httptest.NewRecorder()
	h.ServeHTTP(again, req)
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("got %d with %d bytes", again.Code, again.Body.Len())
	}
}

func TestTimesAreToldAsPeopleDo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "now", 900 * time.Millisecond: "now", 40 * time.Second: "in 40 s", -90 * time.Second: "1 min 30 s ago", 26 * time.Hour: "in 1 d 2 h",
		48 * time.Hour: "in 2 d", -29 * day: "29 d ago", 400 * day: "in 1 y 35 d", 3650 * day: "in 10 y",
	} {
		if got := relative(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

const many10k = 10_000

// mostBytes is how large a page may be, whatever the fleet.
const mostBytes = 300_000

func TestPagesOfALargeFleetAreSmall(t *testing.T) {
	t.Parallel()
	well, all := testfleet.Well(now, many10k), testfleet.Well(now, many10k)
	for name, d := range all.Details { // the worst day: nothing works
		d.Status, d.LastError, d.Hint = renewer.StatusBlocked, strings.Repeat("no route to host; ", 20), "is it up?"
		d.Hosts[0].Error = d.LastError
		all.Details[name] = d
	}
	for i := range all.Status.Hosts {
		all.Status.Hosts[i].Up, all.Status.Hosts[i].Error = false, strings.Repeat("no route to host; ", 10)
	}
	for _, f := range []*testfleet.Fleet{well, all} {
		for _, path := range []string{"/", "/?q=host&page=150", "/hosts", "/hosts/host-00042", "/certificates/docker@host-00042", "/events"} {
			if status, page := get(t, f, path); status != 200 || len(page) > mostBytes {
				t.Errorf("%s: %d, %d bytes", path, status, len(page))
			}
		}
	}
}

func TestIssuersSayHowTheirCAIsReplaced(t *testing.T) {
	t.Parallel()
	_, page := get(t, testfleet.EveryState(now), "/issuers")
	got := text(page)
	for _, want := range []string{
		"Replacement of its CA", "add_root", "From CN=Fleet root,O=Example to CN=Fleet root 2,O=Example: requested by operator",
		"docker@host-d does not have the root of CN=Fleet root 2,O=Example yet", "renewer ca rotate fleet-ca --without host-d",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}
