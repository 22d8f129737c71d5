package runbooks

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"renewer/renewer/problems"
)

var update = flag.Bool("update", false, "write the headers of the pages and the index from the catalogue")

var placeholders = strings.NewReplacer("{certificate}", "NAME", "{host}", "HOST", "{issuer}", "ISSUER", "{channel}", "CHANNEL")

func header(name string) string {
	var b strings.Builder
	for _, r := range problems.All() {
		if r.Runbook == name && r.Alert() == name {
			fmt.Fprintf(&b, "# %s\n\nSeverity: %s. Problem: `%s`.\n\n%s.\n\n", name, r.Severity, r.ID, r.Meaning)
		}
	}
	for _, r := range problems.All() {
		if r.Runbook == name && r.Alert() == "" {
			fmt.Fprintf(&b, "Also for `%s` (%s, without an alert): %s.\n\n", r.ID, r.Severity, r.Meaning)
		}
	}
	return b.String()
}

func index() string {
	var b strings.Builder
	b.WriteString(`# Runbooks

One page for each problem that renewer reports: its meaning and severity, its effect on services (Impact), what to check first
(Diagnosis), what to do (Mitigation), and when it closes (Resolution). The page names are those of the alerts in ` + "`configs/prometheus/renewer.rules.yml`" + `;
` + "`renewer status`" + `, the status page and messages name the same pages. Run ` + "`renewer`" + ` on its machine, as its user or root; NAME stands for the certificate (label
` + "`certificate`" + `), HOST, ISSUER and CHANNEL for the labels of those names.

| page | severity | problem | run first |
|---|---|---|---|
`)
	for _, r := range problems.All() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | `%s` |\n", r.Runbook, r.Runbook, r.Severity, r.ID, placeholders.Replace(r.Commands[0]))
	}
	b.WriteString(`
What opens and closes each problem:

| problem | opens | closes |
|---|---|---|
`)
	for _, r := range problems.All() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.ID, r.Opens, r.Closes)
	}
	b.WriteString("\nWithout an alert or without a line in `renewer status`:\n\n")
	for _, r := range problems.All() {
		if r.NoAlert != "" {
			fmt.Fprintf(&b, "- %s has no alert: %s.\n", r.ID, r.NoAlert)
		}
		if r.NoStatus != "" {
			fmt.Fprintf(&b, "- %s is not in `renewer status`: %s.\n", r.ID, r.NoStatus)
		}
	}
	return b.String()
}

// make runbooks writes what is generated.
func TestPagesSayWhatTheCatalogueSays(t *testing.T) {
	t.Parallel()
	write := func(name, want string) {
		has, _ := os.ReadFile(name + ".md")
		switch {
		case bytes.Equal(has, []byte(want)):
		case *update:
			if err := os.WriteFile(name+".md", []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s.md is not as the catalogue says: make runbooks", name)
		}
	}
	pages := map[string]bool{Index: true}
	for _, r := range problems.All() {
		if pages[r.Runbook] = true; r.Alert() == "" {
			continue
		}
		text, ok := Page(r.Runbook)
		if !ok {
			t.Errorf("%s has no page %s", r.ID, r.Runbook)
			continue
		}
		_, body, ok := strings.Cut(text, "\n## Impact\n")
		if !ok {
			t.Errorf("%s has no Impact", r.Runbook)
			continue
		}
		write(r.Runbook, header(r.Runbook)+"## Impact\n"+body)
	}
	write(Index, index())
	for _, name := range Names() {
		if !pages[name] {
			t.Errorf("%s is about no problem", name)
		}
	}
}

func TestEveryPageHasTheSameParts(t *testing.T) {
	t.Parallel()
	for _, r := range problems.All() {
		text, _ := Page(r.Runbook)
		at := 0
		for _, part := range []string{"## Impact", "## Diagnosis", "## Mitigation", "## Resolution"} {
			i := strings.Index(text, part+"\n\n")
			if i < at || strings.Count(text, "\n## ") != 4 {
				t.Errorf("%s: %s is missing, or not in its place", r.Runbook, part)
			}
			at = i
		}
		diagnosis, _, _ := strings.Cut(text[strings.Index(text, "## Diagnosis"):], "## Mitigation")
		if first := placeholders.Replace(r.Commands[0]); r.Alert() != "" && !strings.Contains(diagnosis, first) && !strings.Contains(text, "`"+first+"`") {
			t.Errorf("%s does not name %q", r.Runbook, first)
		}
	}
}
