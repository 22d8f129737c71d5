//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

// run runs a command as root on a host and returns what it printed, trimmed.
func run(t *testing.T, h *testhosts.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// restart restarts dockerd, however often it was restarted in the last minute.
func restart(t *testing.T, h *testhosts.Host) {
	t.Helper()
	run(t, h, "systemctl", "reset-failed", "docker.service")
	run(t, h, "systemctl", "restart", "docker.service")
}

// ssh is run through the machine's ssh, as the user of the hosts.
func ssh(t *testing.T, h *testhosts.Host, argv ...string) string {
	t.Helper()
	out, err := h.SSH(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// client runs one of the hosts' programs beside the tests and returns what it
// printed, trimmed.
func client(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := testhosts.Client(t.Context(), argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
