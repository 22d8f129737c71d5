package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

// refuser is a host whose sudo refuses everything.
type refuser struct{ hosts.Transport }

func (refuser) Run(context.Context, []string, ...string) ([]byte, error) {
	return nil, renewer.WithHint(fmt.Errorf("run date: %w", remote.SudoError{User: "ops"}), "one command")
}

func (refuser) OpenDir(context.Context, string, bool, ...hosts.Ahead) (hosts.Dir, error) {
	return nil, errors.New("no such file")
}

func TestCommandRefusedBySudoHasAHint(t *testing.T) {
	t.Parallel()
	host := rights{refuser{}, "host-b"}
	_, err := host.Run(t.Context(), []string{"date"})
	if hint := renewer.Hint(err); !strings.HasPrefix(hint, "renewer host sudoers host-b prints all") || strings.Contains(hint, "one command") {
		t.Errorf("hint %q", hint)
	}
	if _, err := host.OpenDir(t.Context(), "/", false); renewer.Hint(err) != "" {
		t.Errorf("of another error: %q", renewer.Hint(err))
	}
}
