package renewer

import (
	"errors"
	"fmt"
	"testing"
)

// The name of a host stands beside an error or in it, and not both.
func TestErrorsOfHostsNameTheHostOnce(t *testing.T) {
	t.Parallel()
	gone := &Error{Err: ErrUnreachable, Hint: "plug it in"}
	err := fmt.Errorf("host web1: inspect web in /etc: host web1: connect: %w", gone)
	at := AtHost("web1", err)
	if got := at.Error(); got != "inspect web in /etc: connect: host unreachable" {
		t.Errorf("got %q", got)
	}
	if !errors.Is(at, ErrUnreachable) || Hint(at) != "plug it in" || AtHost("web1", nil) != nil || AtHost("", err) != err { //nolint:errorlint // the same one
		t.Error("it is another error")
	}
	for text, want := range map[string]string{
		"refused":             "web1: refused",
		"host web1: refused":  "web1: refused",
		"host web10: refused": "web1: host web10: refused",
	} {
		if got := OnHost("web1", text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
