package notify

import (
	"context"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"renewer/internal/secret"
	"renewer/renewer"
)

// docs is the page on notifications.
func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the first block of code after a marker.
func block(t *testing.T, marker string) string {
	t.Helper()
	_, rest, ok := strings.Cut(docs(t), marker)
	if !ok {
		t.Fatalf("the page has no %q", marker)
	}
	code, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("a block without an end")
	}
	return code
}

func TestDocsHaveEveryFieldAndSeverity(t *testing.T) {
	t.Parallel()
	text := docs(t)
	for _, typ := range []reflect.Type{reflect.TypeFor[Message](), reflect.TypeFor[Problem]()} {
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "-" && !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, `"`+name+`": true`) {
				t.Errorf("the page does not explain %s", name)
			}
		}
	}
	for typ := range reflect.TypeFor[Section]().Fields() {
		if !strings.Contains(text, "`."+typ.Name+"`") {
			t.Errorf("the page does not explain .%s of a section", typ.Name)
		}
	}
	for kind := range kinds {
		if row := "| `" + string(kind) + "` | " + string(rowOf(kind).Severity); !strings.Contains(text, row) {
			t.Errorf("the page does not say %q", row)
		}
	}
}

func TestDocsTemplateIsTaken(t *testing.T) {
	t.Parallel()
	template, err := ParseTemplate(block(t, "check` reads it.\n\n```\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := message(t)
	if err := template.render(&m); err != nil || !strings.Contains(m.Title, "docker@h rolled back") || !strings.Contains(m.Text, "run: renewer") {
		t.Errorf("%v: %s\n%s", err, m.Title, m.Text)
	}
}

// The receiver of the page takes what a webhook sends, by either form of a key.
func TestDocsReceiverVerifiesTheSignature(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: the receiver of the page is Python, which is not installed")
	}
	code := block(t, "```python\n")
	const id, body = "4be0", `{"title": "größer"}`
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	for _, line := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", hookKey} {
		key, err := Webhook{HMACFile: file(t, line)}.key()
		if err != nil {
			t.Fatal(err)
		}
		run := func(key secret.Text, body string) string {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			headers := `{"webhook-id": "` + id + `", "webhook-timestamp": "` + stamp + `", "webhook-signature": "v1a,eA== ` + sign(key, id, stamp, []byte(`{"title": "größer"}`)) + `"}`
			cmd := exec.CommandContext(ctx, "python3", "-c", code+"\nimport sys\nprint(verified(sys.argv[1], "+headers+", sys.argv[2].encode()))", line, body)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return strings.TrimSpace(string(out))
		}
		if got := run(key, body); got != "True" {
			t.Errorf("%s: what was sent is %s", line, got)
		}
		if got := run(key, body+" "); got != "False" {
			t.Errorf("%s: a changed body is %s", line, got)
		}
		if got := run(secret.New("another key of many bytes"), body); got != "False" {
			t.Errorf("%s: another key is %s", line, got)
		}
	}
}

// A message resolves restore_failed by what catalogue, page and runbook say.
func TestDocsSayWhatResolvesAFailedRestore(t *testing.T) {
	t.Parallel()
	closes := rowOf(renewer.EventRestoreFailed).Closes
	runbook, err := os.ReadFile("../docs/runbooks/RenewerRestoreFailed.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(docs(t), "| "+closes+" |") || !strings.Contains(string(runbook), closes[1:]+".") {
		t.Errorf("docs/notifications.md or the runbook does not say %q", closes)
	}
}
