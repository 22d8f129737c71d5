package configs

import (
	_ "embed"
	"fmt"
	"net/url"
	"strings"
)

//go:embed prometheus/renewer.rules.yml
var alertRules string

// AlertRules returns the alert rules for Prometheus, with links to the runbooks
// below page, the address of a status page; as shipped if that is empty.
func AlertRules(page string) (string, error) {
	if page == "" {
		return alertRules, nil
	}
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(page, "\"'{}\\ \n") {
		return "", fmt.Errorf("%q is not the address of a page, such as https://renewer.example.com:9925", page)
	}
	var b strings.Builder
	for line := range strings.Lines(alertRules) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "runbook_url: docs/"); ok {
			line = line[:strings.Index(line, "docs/")] + strings.TrimRight(page, "/") + "/" + strings.TrimSuffix(path, ".md") + "\n"
		}
		b.WriteString(line)
	}
	return b.String(), nil
}
