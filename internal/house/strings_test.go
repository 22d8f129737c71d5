package house

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write testdata/strings again")

// TestVisibleStrings compares what users may get to read with the lists in
// testdata/strings, one file a package, so that a review of a change sees each
// text that it changes. `make strings` writes them again.
func TestVisibleStrings(t *testing.T) {
	t.Parallel()
	const dir = "testdata/strings"
	got := map[string]string{}
	for in, texts := range visible(t) {
		slices.Sort(texts)
		got[strings.ReplaceAll(in, "/", "_")+".txt"] = strings.Join(slices.Compact(texts), "\n") + "\n"
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, ok := got[name]; !ok && *update {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		} else if !ok {
			t.Errorf("%s lists strings of a package that has none; run make strings", name)
		}
	}
	for name, text := range got {
		file := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, _ := os.ReadFile(file)
		if difference := changed(string(want), text); difference != "" {
			t.Errorf("%s: visible strings changed; run make strings and look at the difference:\n%s", name, difference)
		}
	}
}

// changed lists the lines that are in one text alone.
func changed(before, after string) string {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	var list []string
	for _, line := range was {
		if !slices.Contains(is, line) {
			list = append(list, "- "+line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			list = append(list, "+ "+line)
		}
	}
	return strings.Join(list, "\n")
}

// visible returns, by package, every string with words in it: of Go files,
// templates, alerts, and the headings of pages. It takes too many rather than
// too few: whether a string ends in an error, a hint, an event or a log line
// cannot be told where it stands.
func visible(t *testing.T) map[string][]string {
	t.Helper()
	list := map[string][]string{}
	files(t, func(file string) {
		in := folder(file)
		if in == "." {
			in = "root"
		}
		add := func(text string) {
			if words(text) {
				quoted := strconv.Quote(text)
				list[in] = append(list[in], quoted[1:len(quoted)-1])
			}
		}
		switch test := strings.Contains(file, "testdata/") || strings.HasPrefix(file, "internal/test") || strings.HasPrefix(file, "e2e/"); {
		case test:
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"):
			for _, l := range parse(t, file).literals() {
				add(l.text)
			}
		case strings.HasSuffix(file, ".html") || strings.HasSuffix(file, ".tmpl"):
			for _, text := range templateTexts(read(t, file)) {
				add(text)
			}
		case strings.HasPrefix(file, "configs/prometheus/") && strings.HasSuffix(file, ".rules.yml"):
			for _, text := range annotations(t, read(t, file)) {
				add(text)
			}
		case strings.HasSuffix(file, ".md"):
			for line := range strings.Lines(read(t, file)) {
				if heading.MatchString(line) {
					add(strings.TrimSpace(line))
				}
			}
		}
	})
	return list
}

// heading is one of a page, and no comment of an example.
var heading = regexp.MustCompile(`^#+ \p{Lu}`)

var wordPair = regexp.MustCompile(`[\pL…][,;:.)]? +[(]?[\pL%…]`)

// words reports whether a text has two words beside each other.
func words(text string) bool { return wordPair.MatchString(text) }

var (
	action = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	quoted = regexp.MustCompile("\"[^\"\n]*\"|`[^`]*`")
	tag    = regexp.MustCompile(`(?s)<(?:[^<>"]|"[^"]*")*>`)
	spaces = regexp.MustCompile(`\s+`)
	// shown are attributes that a browser shows or reads out.
	shown = regexp.MustCompile(`(?:title|placeholder|aria-label|alt)="([^"]*)"`)
)

// templateTexts returns the texts of a template: what stands between tags and
// actions, attributes that are shown, and strings in actions.
func templateTexts(text string) (list []string) {
	for _, a := range action.FindAllString(text, -1) {
		if strings.HasPrefix(strings.TrimLeft(a, "{- "), "/*") {
			continue
		}
		for _, q := range quoted.FindAllString(a, -1) {
			list = append(list, q[1:len(q)-1])
		}
	}
	text = action.ReplaceAllString(text, "…")
	for _, found := range shown.FindAllStringSubmatch(text, -1) {
		list = append(list, found[1])
	}
	for _, between := range strings.Split(tag.ReplaceAllString(text, "\x00"), "\x00") {
		list = append(list, strings.TrimSpace(spaces.ReplaceAllString(between, " ")))
	}
	return list
}

// annotations returns the texts of alerts.
func annotations(t *testing.T, text string) (list []string) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			for _, text := range rule.Annotations {
				list = append(list, strings.TrimSpace(text))
			}
		}
	}
	return list
}
