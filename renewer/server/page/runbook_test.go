package page

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"renewer/docs/runbooks"
	"renewer/internal/testfleet"
)

func TestEveryRunbookIsServedAsItIsWritten(t *testing.T) {
	t.Parallel()
	if len(runbooks.Names()) < 20 || !slices.Contains(runbooks.Names(), "RenewerIssuerDown") {
		t.Fatalf("embedded: %v", runbooks.Names())
	}
	between := regexp.MustCompile(`[^\pL\pN]+`)
	words := func(s string) string { return strings.Join(strings.Fields(between.ReplaceAllString(s, " ")), " ") }
	unseen := regexp.MustCompile(`<(p|caption)[^>]* class="unseen".*?</(p|caption)>|<caption.*?</caption>`)
	prose := regexp.MustCompile(`(?s)<pre.*?</pre>|<code>.*?</code>|&#\d+;`)
	for _, name := range runbooks.Names() {
		source, _ := runbooks.Page(name)
		source = regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(source, "")
		source = regexp.MustCompile(`\|--.*`).ReplaceAllString(source, "")
		for _, path := range []string{"/runbooks/" + name, "/runbooks/" + name + ".md"} {
			status, page := get(t, &testfleet.Fleet{}, path)
			_, article, _ := strings.Cut(page, `<article class="runbook">`)
			article = unseen.ReplaceAllString(article, "")
			article, _, _ = strings.Cut(article, "</article>")
			got := text(article)
			if status != 200 || !strings.HasPrefix(words(got), words(source)) {
				t.Errorf("%s: %d, reads\n%s\nwant\n%s", path, status, words(got), words(source))
			}
			if i := strings.IndexAny(prose.ReplaceAllString(article, ""), "`#*|"); i >= 0 {
				t.Errorf("%s: markup is left in %s", path, article)
			}
		}
	}
	_, page := get(t, &testfleet.Fleet{}, "/runbooks")
	for _, name := range runbooks.Names() {
		if name != runbooks.Index && !strings.Contains(page, `<a href="/runbooks/`+name+`">`) {
			t.Errorf("the list has no link to %s", name)
		}
	}
	_, page = get(t, &testfleet.Fleet{}, "/runbooks/RenewerIssuerDown")
	if !strings.Contains(page, "<pre") || !strings.Contains(page, "<code>") || !strings.Contains(page, "<ul>") {
		t.Errorf("a runbook without its parts: %s", page)
	}
	for _, path := range []string{"/runbooks/nothing", "/runbooks/..%2fpage.go", "/runbooks/runbooks.go"} {
		if status, _ := get(t, &testfleet.Fleet{}, path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestEveryProblemLinksToItsRunbook(t *testing.T) {
	t.Parallel()
	f := testfleet.EveryState(now)
	f.Status.Daemon.LastCheck, f.Status.Daemon.FleetError = now.Add(-testfleet.Day), "renewer.yaml:3:1: unknown key"
	_, page := get(t, f, "/")
	_, page, _ = strings.Cut(page, `<ul class="problems">`)
	page, _, _ = strings.Cut(page, "</ul>")
	var got []string
	for _, m := range regexp.MustCompile(`href="/runbooks/([^"]*)"`).FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
	}
	want := []string{
		"RenewerCheckNotRunning", "RenewerCertificateExpired", "RenewerRevokedInUse", "RenewerFleetFileRefused", "RenewerRolledBack",
		"RenewerDrifted", "RenewerHostUnreachable", "RenewerCARotationBlocked", "RenewerCAExpiring", "RenewerIssuerDown", "RenewerNotifyFailing",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, path := range []string{"/certificates/docker@host-e", "/hosts/host-d", "/issuers"} {
		if _, page := get(t, f, path); !strings.Contains(page, `<a href="/runbooks/Renewer`) {
			t.Errorf("%s: no link to a runbook", path)
		}
	}
}
