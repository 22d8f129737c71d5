package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"renewer/renewer"
	"renewer/renewer/server"
)

// YAML says what JSON says: no string turns into a number, a time or a bool.
func TestYAMLHoldsTheSameValues(t *testing.T) {
	t.Parallel()
	tricky := rapid.SampledFrom([]string{
		"", "0123", "12e3", "0x1f", "1_000", "yes", "null", "~", "true", "2026-11-22T05:00:00Z", "2026-11-22", "- a", "a: b", "#x",
		"*a", "&a", "!!int 3", "@host", "`", "%", "line\nbreak\n", " lead", "trail ", "tab\there", "\t\n", "\n\t", " \n", "é…", "{}", "[]", "<<", "=", ".inf", "\u0085", "\u2028", "\x7f",
	})
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(tricky, rapid.String())
		value := rapid.MapOf(word, rapid.OneOf(
			rapid.Map(word, func(s string) any { return s }),
			rapid.Map(rapid.IntRange(-1<<40, 1<<40), func(n int) any { return n }),
			rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Map(rapid.SliceOf(word), func(s []string) any { return s }),
		)).Draw(t, "value")
		b, err := json.Marshal([]any{value})
		if err != nil {
			t.Skip("not JSON")
		}
		var want, got any
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := writeYAML(&out, []any{value}); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in:\n%s", err, &out)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, &out)
		}
		if err := json.Unmarshal(again, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s\nin:\n%s", diff, &out)
		}
	})
}

func TestListsOfEveryFormat(t *testing.T) {
	t.Parallel()
	steps := []renewer.PlanStep{{Certificate: "a", Action: "issue", Reason: `say "hi", now`}, {Certificate: "b", Host: "h", Action: "push", Reason: "x"}}
	for _, x := range []struct {
		format      format
		none, whole string
	}{
		{
			asJSON, "[]\n",
			"[\n  {\n    \"certificate\": \"a\",\n    \"host\": \"\",\n    \"action\": \"issue\",\n    \"reason\": \"say \\\"hi\\\", now\"\n  },\n" +
				"  {\n    \"certificate\": \"b\",\n    \"host\": \"h\",\n    \"action\": \"push\",\n    \"reason\": \"x\"\n  }\n]\n",
		},
		{
			asYAML, "[]\n",
			"- certificate: a\n  host: \"\"\n  action: issue\n  reason: say \"hi\", now\n- certificate: b\n  host: h\n  action: push\n  reason: x\n",
		},
		{asCSV, "certificate,action,reason\n", "certificate,action,reason\na,issue,\"say \"\"hi\"\", now\"\nb,push,x\n"},
		{asTable, "", "CERTIFICATE  ACTION  REASON\na            issue   say \"hi\", now\nb            push    x\n"},
	} {
		for _, want := range []struct {
			steps []renewer.PlanStep
			out   string
		}{{nil, x.none}, {steps, x.whole}} {
			var out, errOut bytes.Buffer
			c := &cli{out: &out, errOut: &errOut, format: x.format}
			err := listOf(c, []string{"certificate", "action", "reason"}, func(p renewer.PlanStep) []any {
				return []any{p.Certificate, p.Action, p.Reason}
			}).all(want.steps, "nothing to do")
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want.out, out.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", x.format, diff)
			}
			if (errOut.Len() > 0) != (x.format == asTable && want.steps == nil) {
				t.Errorf("%s: said %q", x.format, &errOut)
			}
		}
	}
}

func TestTimesForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "now", 59 * time.Second: "in 59 s", 61 * time.Second: "in 1 min 1 s", -90 * time.Minute: "1 h 30 min ago",
		26 * time.Hour: "in 1 d 2 h", 10*24*time.Hour + time.Hour: "in 10 d", -1000 * 24 * time.Hour: "2 y 270 d ago",
	} {
		if got := relative(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	start := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	e := end{renewer.Row{NotBefore: start, NotAfter: start.Add(100 * time.Hour), RenewAt: start.Add(67 * time.Hour)}}
	for hours, want := range map[int]text.Color{0: text.FgGreen, 66: text.FgGreen, 67: text.FgYellow, 89: text.FgYellow, 91: text.FgRed, 200: text.FgRed} {
		if got := e.colour(start.Add(time.Duration(hours) * time.Hour)); got != want {
			t.Errorf("after %d hours: colour %d, want %d", hours, got, want)
		}
	}
}

// cutBackup is a Service whose backup ends in the middle.
type cutBackup struct{ server.Service }

func (cutBackup) Backup(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "half")
	return errors.Join(err, errors.New("the answer was cut"))
}

func TestCutBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := backup(t.Context(), cutBackup{}, filepath.Join(dir, "copy.db")); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A column without a name made "-" stand where ISSUED AT is expected.
func TestShowGivesSupersededGenerationsUnderTheRightColumns(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	c := &cli{out: &out}
	err := c.showDetail(renewer.Detail{Generations: []renewer.GenerationView{
		{Number: 2, Serial: "0b", IssuedAt: at.Add(time.Hour), NotAfter: at.AddDate(1, 0, 0), Current: true},
		{Number: 1, Serial: "0a", IssuedAt: at, NotAfter: at.AddDate(1, 0, 0)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	lines = lines[len(lines)-3:]
	head := strings.Fields(strings.ReplaceAll(lines[0], " A", "_A")) // ISSUED AT is one column
	for i, want := range []string{"2026-11-22T06:00:00Z", "2026-11-22T05:00:00Z"} {
		row := strings.Fields(lines[i+1])
		if x := slices.Index(head, "ISSUED_AT"); len(row) != len(head) || x < 0 || row[x] != want {
			t.Errorf("%q under %q, want issued at %s", lines[i+1], lines[0], want)
		}
	}
}

// A host that cannot be reached is no difference: it was not looked at, which fails, unless
// what was looked at differs and that was asked for.
func TestVerifySaysWhatCouldNotBeLookedAt(t *testing.T) {
	t.Parallel()
	right, differs, away := renewer.Verification{Certificate: "a", Host: "here", OK: true}, renewer.Verification{Certificate: "b", Host: "here"}, renewer.Verification{Certificate: "c", Host: "far", Unreachable: true}
	for _, x := range []struct {
		found    []renewer.Verification
		exitCode bool
		exit     int
		state    string
	}{
		{[]renewer.Verification{right, away}, false, exitFailed, "unreachable"},
		{[]renewer.Verification{right, away}, true, exitFailed, "unreachable"},
		{[]renewer.Verification{differs, away}, true, exitFound, "unreachable"},
		{[]renewer.Verification{right, differs}, false, 0, "differs"},
		{[]renewer.Verification{right, differs}, true, exitFound, "differs"},
	} {
		var out bytes.Buffer
		c := &cli{out: &out, errOut: io.Discard, format: asCSV, began: true}
		err := c.verified(x.found, x.exitCode)
		if code := c.report(err); code != x.exit || !strings.Contains(out.String(), x.state) || code == exitFailed && !strings.Contains(renewer.Hint(err), "renewer doctor far") {
			t.Errorf("%+v: %v (%d)\n%s", x, err, code, &out)
		}
	}
}
