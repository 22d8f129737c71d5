package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	s := New("hunter2-and-more")
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		fmt.Fprintf(&out, verb+"\n", s, s)
		fmt.Fprintf(&out, verb+"\n", struct{ S Text }{s}, &s)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "in", struct{ S Text }{s})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "in", struct{ S Text }{s})
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": s, "in": []Text{s}}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || !strings.Contains(text, Hidden) {
		t.Error(text)
	}
	if s.Reveal() != "hunter2-and-more" || s.IsZero() || !New("").IsZero() {
		t.Error("the secret itself is gone")
	}
}

func TestRedactHidesWhatALibraryCutOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ secret, text, want string }{
		{"slack://hook:T0AB-B0CD-x9Yz@webhook", `Post "https://hooks.slack.com/services/T0AB/B0CD/x9Yz": EOF`, `Post "https://hooks.slack.com/services/[redacted]/[redacted]/[redacted]": EOF`},
		{"https://h.example.com/a%2Fsecretpath?token=s3cr3t", `Get "https://h.example.com/a/secretpath?token=s3cr3t": no`, `Get "[redacted]": no`},
		{"ntfy://user:p%40ssw0rd@ntfy.example.com/topic", `login user p@ssw0rd at ntfy.example.com`, `login [redacted] p@[redacted] at ntfy.example.com`},
		{"PassWord1", "password1 is wrong", Hidden + " is wrong"},
		{"ab", "tab: ab", "t[redacted]: [redacted]"},
		{"", "nothing", "nothing"},
	} {
		if got := RedactText(c.text, New(c.secret)); got != c.want {
			t.Errorf("%s: %q, want %q", c.secret, got, c.want)
		}
	}
}

func TestRedactedTextNeverHasTheSecret(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[A-Za-z0-9/:@?&=+.-]{4,30}`).Draw(t, "secret")
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		if got := RedactText(before+s+after, New(s)); strings.Contains(got, s) && !strings.Contains(Hidden, s) {
			t.Fatalf("%q in %q", s, got)
		}
	})
}
