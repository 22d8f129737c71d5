package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// refused are words that operators had to guess at, with what to say instead.
// A space in a pattern is any white space, also over the end of a line.
// The first column is in every text that the pattern matches: most texts are
// done with it.
var refused = compile([][3]string{
	{"person", `persons?`, "operator"},
	{"nobody", `nobody`, "no operator, no client: name who"},
	{"whoever", `whoever`, "name who: a peer, a client, an operator"},
	{"told", `told`, "notified, reported, configured: name the act"},
	{"trouble", `troubles?`, "problem, failure"},
	{"", `(certificates?|cas?|root|leaf|chain|identity|token|intermediate)(,| that| which| has| have| had| is| will)* (ends?|ended|is over|are over)`, "expires, expired"},
	{"over", `(is|are|was|were) over`, "has ended, is done; of certificates: expired"},
	{"anew", `anew`, "again; retry; reissue"},
	{"other", `in other hands`, "compromised"},
	{"sign", `will not sign for long`, "expires in …"},
	{"through", `lets? it through`, "rate limited until …"},
	{"out", `ways? out`, "fix, remediation"},
	{"right", `puts? (\w+ )?right`, "fix; needs manual action"},
	{"well", `(%d|[0-9]+) well`, "passed"},
	{"late", `(is|are|was|be) late`, "overdue"},
	{"hear", `(hears?|heard) of`, "is notified of, receives"},
	{"stays", `what is (there|in place)( now)? stays`, "the current certificate stays in place"},
	{"asked", `asked as (a client|peers?|clients)( would)?`, "renewer connects as a client and checks …"},
	{"not", `what there is not yet`, "Limitations"},
	{"living", `living system`, "demo"},
	{"dear", `dear`, "expensive"},
	{"mend", `mend(s|ed|ing)?`, "fix, repair"},
	{"well", `so far well|well again|is well`, "healthy, passes"},
})

// allowed are texts in which a refused word is right, with the file or the
// directory where they stand.
var allowed = [][2]string{
	{"internal/house", ""},           // the table above
	{"renewer/waiting.go", "person"}, // a name in the API, as it was
	{"renewer/hosts", "renewer-test-nobody-has-this"},
	{"cmd/renewer/daemon", "owner: nobody"},            // a user's name
	{"renewer/hosts/remote", "nobody-here"},            // a user's name
	{"renewer/server/openapi.json", `"person"`},        // the same name
	{"notify", `"told": true`},                         // a name in the saved state
	{"CHANGELOG.md", "`troubles` and `more_troubles`"}, // names of before
}

type refusal struct {
	has     string
	pattern *regexp.Regexp
	say     string
}

func compile(rows [][3]string) (list []refusal) {
	for _, row := range rows {
		pattern := strings.ReplaceAll(row[1], " ", `(?:\s|//|#)+`)
		list = append(list, refusal{row[0], regexp.MustCompile(`\b(?:` + pattern + `)\b`), row[2]})
	}
	return list
}

// TestPlainWords holds that no text says what the table refuses: in strings,
// comments and names of tests, in pages, templates, settings and units.
func TestPlainWords(t *testing.T) {
	t.Parallel()
	files(t, func(file string) {
		for _, fault := range wordFaults(t, file) {
			t.Error(fault)
		}
	})
}

// TestPlainWordsAreRefused shows that the table bites.
func TestPlainWordsAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"until a person has looked":        "a.txt:1: \"person\": say operator",
		"x\nwhat is\n# in place stays":     "a.txt:2: \"what is # in place stays\": say the current certificate stays in place",
		"the certificate ended":            "a.txt:1: \"certificate ended\": say expires, expired",
		"10 checks: 9 well":                "a.txt:1: \"9 well\": say passed",
		"the process ended, persona, well": "",
	} {
		if got := strings.Join(faultsIn("a.txt", text, 1), "; "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := spoken("TestHTTPSHearsOfAll"); got != "test https hears of all" {
		t.Errorf("a test's name is read as %q", got)
	}
}

// wordFaults returns one line for each refused word of a file.
func wordFaults(t *testing.T, file string) (list []string) {
	t.Helper()
	switch {
	case strings.HasSuffix(file, ".go"):
		s := parse(t, file)
		for _, group := range s.file.Comments {
			list = append(list, faultsIn(file, s.text[s.set.Position(group.Pos()).Offset:s.set.Position(group.End()).Offset], s.line(group.Pos()))...)
		}
		for _, l := range s.literals() {
			list = append(list, faultsIn(file, l.text, s.line(l.pos))...)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() && testName.MatchString(f.Name.Name) {
				list = append(list, faultsIn(file, spoken(f.Name.Name), s.line(f.Pos()))...)
			}
		}
	case slices.ContainsFunc([]string{".md", ".yaml", ".yml", ".html", ".tmpl", ".txtar", ".txt", ".js", ".service", ".json", "Makefile"}, func(end string) bool {
		return strings.HasSuffix(file, end)
	}):
		list = faultsIn(file, read(t, file), 1)
	}
	return list
}

// faultsIn returns one line for each refused word of a text that begins at a
// line of a file.
func faultsIn(file, text string, line int) (list []string) {
	for _, a := range allowed {
		if within([]string{a[0]}, file) {
			if a[1] == "" {
				return nil
			}
			text = strings.ReplaceAll(text, a[1], "")
		}
	}
	text = strings.ToLower(text)
	for _, r := range refused {
		if !strings.Contains(text, r.has) {
			continue
		}
		for _, at := range r.pattern.FindAllStringIndex(text, -1) {
			list = append(list, fmt.Sprintf("%s:%d: %q: say %s", file, line+strings.Count(text[:at[0]], "\n"), strings.Join(strings.Fields(text[at[0]:at[1]]), " "), r.say))
		}
	}
	return list
}

// testName is that of a function that go test runs.
var testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`)

// within reports whether a file is one of the paths, or below one.
func within(paths []string, file string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return file == p || strings.HasPrefix(file, p+"/") })
}

// spoken is a Go name as words: TestHTTPIsUp is "test http is up".
func spoken(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if unicode.IsUpper(r) && i > 0 && (next || !unicode.IsUpper(runes[i-1])) {
			b.WriteByte(' ')
		}
		if r == '_' {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
