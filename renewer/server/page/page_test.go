package page

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/internal/testfleet"
	"renewer/renewer"
	"renewer/renewer/forecast"
	"renewer/renewer/problems"
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
	page = regexp.MustCompile(`<wbr>|<button type="button" class="copy"[^>]*>Copy</button>`).ReplaceAllString(page, "")
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
		"11 problems, 3 critical",
		"renewer : has not checked what is due for 1 h; at most 30 min is expected", "renewer status",
		"docker@host-d : expired 2 d ago", "renewer show docker@host-d renewer renew docker@host-d",
		"old-agent : is revoked and still in place", "renewer renew old-agent",
		"renewer : refused the fleet file", "renewer.yaml:3:1: unknown key", "renewer check",
		"docker@host-e : rolled back on host-e, blocked for 3 h, next automatic retry in 10 d", "tells why", "renewer show docker@host-e renewer doctor host-e renewer renew docker@host-e",
		"web : was changed on host-f; renewer tries to restore it", "renewer verify web",
		"host-d : cannot be reached", "dial 10.0.1.4:22: no route to host", "renewer doctor host-d",
		"fleet-ca : replacement of its CA blocked at stage add_root for 2 h", "docker@host-d does not have the root", "renewer ca show fleet-ca",
		"fleet-ca : CA CN=Fleet root,O=Example expires in 61 d", "renewer ca show fleet-ca",
		"corp-step : down", "renewer check --online",
		"hook : notification failed, not delivering", "renewer notify test hook",
		"Rollouts in progress docker@host-c", "renewal, generation 4, started 40 s ago", "0 of 2 hosts verified 1 ↻ activated 1 ↻ staged", "activated host-c",
	} {
		i := strings.Index(got[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing, or in another place, in\n%s", want, got)
		}
		at += i
	}
	if _, page = get(t, testfleet.Well(now, 3), "/"); !strings.Contains(text(page), "No problems: 3 certificates valid and proven in place") {
		t.Errorf("a healthy fleet: %s", text(page))
	}
	if _, page = get(t, &testfleet.Fleet{}, "/"); !strings.Contains(text(page), "has no certificates yet") {
		t.Errorf("an empty fleet: %s", text(page))
	}
}

func TestCertificateIsDecoded(t *testing.T) {
	t.Parallel()
	_, page := get(t, testfleet.EveryState(now), "/certificates/docker@host-e")
	got := text(page)
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
		"sort=name":                           "dagster-client dagu-coordinator dagu-worker docker@host-b docker@host-c docker@host-d docker@host-e new-service old-agent web",
		"sort=-name&q=docker":                 "docker@host-e docker@host-d docker@host-c docker@host-b",
		"sort=-expiry&host=host-a":            "old-agent dagster-client dagu-worker dagu-coordinator",
		"sort=renew&q=docker":                 "docker@host-d docker@host-e docker@host-c docker@host-b",
		"sort=issuer&expiring=&q=w-s":         "new-service",
		"sort=status&status=attention":        "docker@host-d old-agent docker@host-e web",
		"sort=nonsense&q=docker":              "docker@host-d docker@host-e docker@host-c docker@host-b",
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
	path := "/?q=docker&sort=-name"
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

func TestRelativeTimesUseReadableUnits(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "now", 900 * time.Millisecond: "in less than 1 s", -900 * time.Millisecond: "less than 1 s ago", 40 * time.Second: "in 40 s", -90 * time.Second: "1 min 30 s ago", 26 * time.Hour: "in 1 d 2 h",
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
		d.Status, d.RolloutProblem = renewer.StatusBlocked, problems.RolloutBlocked
		d.LastError, d.Hint = strings.Repeat("no route to host; ", 20), "is it up?"
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

// A click on a header keeps what was searched for, and a second one turns it round.
func TestHeadersSortWhatIsShown(t *testing.T) {
	t.Parallel()
	header := regexp.MustCompile(`<th scope="col" role="columnheader"( aria-sort="[a-z]+")?><a class="sort" href="([^"]*)">([A-Za-z ]+[a-z])`)
	links := func(path string) map[string]string {
		_, page := get(t, testfleet.EveryState(now), path)
		out := map[string]string{}
		for _, m := range header.FindAllStringSubmatch(page, -1) {
			out[m[3]] = strings.TrimSuffix(html.UnescapeString(m[2]), "#certificates") + m[1]
		}
		return out
	}
	for path, want := range map[string]map[string]string{
		"/?q=docker&page=3": {
			"Certificate": "/?q=docker&sort=name", "Status": "/?q=docker&sort=status", "Expires": `/?q=docker&sort=-expiry aria-sort="ascending"`,
			"Renewal due": "/?q=docker&sort=renew", "Issuer": "/?q=docker&sort=issuer",
		},
		"/?sort=-name": {
			"Certificate": `/?sort=name aria-sort="descending"`, "Status": "/?sort=status", "Expires": "/", "Renewal due": "/?sort=renew", "Issuer": "/?sort=issuer",
		},
	} {
		if diff := cmp.Diff(want, links(path)); diff != "" {
			t.Errorf("%s:\n%s", path, diff)
		}
	}
	_, page := get(t, testfleet.EveryState(now), "/?sort=-issuer&q=e")
	for _, want := range []string{`<option value="-issuer" selected>`, `href="/certificates.csv?q=e&amp;sort=-issuer"`, `href="/certificates.json?q=e&amp;sort=-issuer"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestListIsExportedAsItIsFiltered(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	f.With(func(f *testfleet.Fleet) {
		d := f.Details["web"]
		d.CommonName = `=HYPERLINK("http://example.com","x")`
		f.Put(d)
	})
	_, text := get(t, f, "/certificates.json?q=docker&sort=-name")
	var rows []renewer.Row
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, r.Name)
	}
	if want := "docker@host-e docker@host-d docker@host-c docker@host-b"; strings.Join(got, " ") != want {
		t.Errorf("JSON has %v", got)
	}
	if diff := cmp.Diff(f.Details["docker@host-e"].Row, rows[0]); diff != "" {
		t.Error(diff)
	}
	if _, text = get(t, f, "/certificates.json?q=nothing+has+this"); text != "[]\n" {
		t.Errorf("an empty list is %q", text)
	}
	_, text = get(t, f, "/certificates.csv?q=web&status=due")
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(lines) != 2 || !slices.Equal(lines[0], csvColumns) {
		t.Fatalf("CSV: %v, %q", err, text)
	}
	if row := strings.Join(lines[1][:7], "|"); row != "web|due|3|2027-01-31T05:00:00Z|2027-01-01T05:00:00Z|fleet-ca|host-f(drifted)" {
		t.Errorf("CSV has %q", row)
	}
	if lines[1][9] != `'=HYPERLINK("http://example.com","x")` {
		t.Errorf("a spreadsheet would compute %q", lines[1][9])
	}
	if status, _ := get(t, &broken{}, "/certificates.csv"); status != 200 { // it lists; only System fails
		t.Errorf("got %d", status)
	}
}

func TestRolloutsOfOneEntryAreOneCard(t *testing.T) {
	t.Parallel()
	_, page := get(t, testfleet.Wave(now, 40), "/")
	if n := strings.Count(page, `<li id="rollout-`); n != 1 {
		t.Errorf("%d cards", n)
	}
	got := text(page)
	for _, want := range []string{
		"docker ↻ rolling renewal, started 10 min ago", "25 of 40 hosts verified", "25 ✓ verified 3 ↻ activated 4 ↻ staged 4 – not begun 4 ✕ failed",
		"4 hosts: window nightly opens", "✕ restoring host-34.example.com 36 other hosts – pending host-05",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if !strings.Contains(page, `<details id="hosts-docker"><summary>36 other hosts</summary>`) {
		t.Error("the hosts cannot be expanded")
	}
}

// What failed is said where it is first seen: the problem, the rollout and the
// host of a certificate have the same text.
func TestTextOfAProblemIsShownOnce(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	f.Log = nil
	for _, path := range []string{"/", "/hosts", "/hosts/host-d", "/hosts/host-e", "/hosts/host-f", "/certificates/docker@host-d", "/certificates/docker@host-e", "/certificates/web"} {
		_, page := get(t, f, path)
		got := text(page)
		for _, sentence := range []string{"the service does not run: Job for docker", "journalctl -u docker.service -n 50", "serves another certificate than was placed", "find out who changed it"} {
			if n := strings.Count(got, sentence); n > 1 {
				t.Errorf("%s: %q stands there %d times", path, sentence, n)
			}
		}
	}
	_, page := get(t, f, "/hosts/host-d")
	if n := strings.Count(text(page), "no route to host"); n != 1 {
		t.Errorf("/hosts/host-d: %d times", n)
	}
}

func TestWhatHasExpiredSaysSince(t *testing.T) {
	t.Parallel()
	for ago, want := range map[time.Duration]string{58 * time.Second: "58 s ago", 400 * time.Millisecond: "less than 1 s ago", 3 * time.Hour: "3 h ago"} {
		f := &testfleet.Fleet{}
		d := testfleet.Certificate(now, "web", 90*testfleet.Day+ago, "host-a")
		d.Status = renewer.StatusExpired
		f.Put(d)
		_, page := get(t, f, "/")
		if got := text(page); !strings.Contains(got, "✕ expired expired "+want) && !strings.Contains(got, "expired "+want) {
			t.Errorf("the list does not say %q:\n%s", want, got)
		}
		_, page = get(t, f, "/certificates/web")
		if got := text(page); !strings.Contains(got, "web ✕ expired "+want) || strings.Contains(got, "expires") {
			t.Errorf("the certificate does not say %q:\n%s", want, got)
		}
	}
}

func TestFailedActivationIsRed(t *testing.T) {
	t.Parallel()
	for _, e := range []renewer.EventType{renewer.EventActivateFailed, renewer.EventProbeFailed, renewer.EventRestoreFailed, renewer.EventRolledBack} {
		if got := eventLook(renewer.Event{Type: e}); got.Class != bad {
			t.Errorf("%s is %s", e, got.Class)
		}
	}
	for _, h := range []renewer.HostRow{{State: renewer.HostActivated, Error: "the unit failed"}, {State: renewer.HostRolledBack}, {State: renewer.HostBlocked}} {
		if got := hostLook(h); got.Class != bad {
			t.Errorf("%s is %s", h.State, got.Class)
		}
	}
	if got := hostLook(renewer.HostRow{State: renewer.HostActivated}); got.Class != busy {
		t.Errorf("an activation under way is %s", got.Class)
	}
	for _, s := range []renewer.StepState{renewer.StepRestoring, renewer.StepRestored, renewer.StepRolledBack, renewer.StepBlocked} {
		if got := markOf(s); got.Class != bad || stageOf(s) != failed {
			t.Errorf("%s is %s", s, got.Class)
		}
	}
}

func TestUnknownAddressOffersASearch(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	for path, want := range map[string]string{
		"/dokcer@host-b": "dokcer@host-b", "/a/b/web/": "web", "/certificates/dokcer": "dokcer", "/hosts/host-x": "host-x", "/%3Cb%3E": "<b>", "/assets/": "assets",
	} {
		status, page := get(t, f, path)
		if status != 404 || !strings.Contains(page, `name="q" value="`+html.EscapeString(want)+`"`) || !strings.Contains(page, `aria-label="Pages"`) || !strings.Contains(page, "v1.2.3") {
			t.Errorf("%s: %d %s", path, status, page)
		}
	}
}

func TestNamesBreakWhereTheirPartsEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if got := strings.Join(breaks(name), ""); got != name {
			t.Errorf("%q became %q", name, got)
		}
	})
	if got := strings.Join(breaks("docker@host-b.example.com"), "|"); got != "docker@|host-|b.|example.|com" {
		t.Error(got)
	}
	_, page := get(t, testfleet.EveryState(now), "/")
	if !strings.Contains(page, ">docker@<wbr>host-<wbr>b</a>") {
		t.Error("the list has no places to break a name")
	}
}

func TestForecastHasAChartAndATable(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	f := testfleet.Well(now, 1)
	f.Ahead = forecast.Forecast{From: now, Until: now.Add(Ahead), Events: []forecast.Event{
		{Time: at(2 * day), Kind: forecast.Renewal, Certificate: "web"},
		{Time: at(2 * day), Kind: forecast.Renewal, Certificate: "api"},
		{Time: at(2*day + time.Hour), Kind: forecast.Restart, Host: "host-a", Window: "nightly"},
		{Time: at(30 * day), Kind: forecast.CAExpires, Issuer: "fleet-ca", Reason: "CN=Fleet root"},
		{Time: at(31 * day), Kind: forecast.Expires, Certificate: "web"},
	}}
	a := aheadOf(f.Ahead)
	if b := a.Bars[2]; b.Renewals != 2 || b.Restarts != 1 || math.Abs(b.Restarted) > 1e-9 || math.Abs(b.Low()+b.High()-aheadHeight) > 1e-9 || !b.Windows || a.Bars[1].Windows {
		t.Errorf("got %+v", a.Bars[:3])
	}
	_, page := get(t, f, "/")
	if want := `aria-label="The next 8 weeks: 2 renewals, 1 restart, a CA of fleet-ca expires on 2026-12-22, web expires on 2026-12-23"`; !strings.Contains(page, want) {
		t.Errorf("the chart does not say %s", want)
	}
	for _, want := range []string{"2026-12-22 a CA of fleet-ca expires CN=Fleet root", "2026-11-23 2 1 0 nightly 0 0", "2026-12-21 0 0 0 – 0 1"} {
		if got := text(page); !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
	if _, page = get(t, testfleet.Well(now, 1), "/"); strings.Contains(page, `id="ahead-h"`) {
		t.Error("a fleet without anything ahead has a chart of it")
	}
}

// A colour says what the catalogue says, but for what a step did: that it failed is red.
func TestColoursAreTheSeverityOfTheCatalogue(t *testing.T) {
	t.Parallel()
	for _, row := range problems.All() {
		want := map[problems.Severity]string{problems.Critical: bad, problems.Warning: warn}[row.Severity]
		if got := newProblem(renewer.Problem{Severity: row.Severity}); got.Class != want {
			t.Errorf("%s is %s", row.ID, got.Class)
		}
		for _, e := range row.Events {
			if got := eventLook(renewer.Event{Type: renewer.EventType(e)}); got.Class != want && e != string(renewer.EventRolledBack) {
				t.Errorf("event %s of %s is %s", e, row.ID, got.Class)
			}
		}
	}
	_, page := get(t, testfleet.EveryState(now), "/hosts/host-d")
	if !strings.Contains(page, `class="verdict warn"`) || !strings.Contains(page, `class="problem warn"`) {
		t.Error("a host that cannot be reached is not shown as the warning that it is")
	}
}

func TestWhatFollowsAKnownTextIsShownAlone(t *testing.T) {
	t.Parallel()
	f := frame{said: map[string][]string{}}
	for _, c := range []struct{ certificate, host, text, want string }{
		{"web", "", "a: the unit failed", "a: the unit failed"},
		{"web", "a", "the unit failed", ""},
		{"web", "a", "the unit failed; there is nothing to restore", "there is nothing to restore"},
		{"web", "a", "the unit failed; there is nothing to restore", ""},
		{"web", "b", "the unit failed", "the unit failed"},
		{"api", "a", "the unit failed", "the unit failed"},
		{"web", "a", "", ""},
	} {
		if got := f.New(c.certificate, c.host, c.text); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
