package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

// refuser is a host whose sudo refuses everything.
type refuser struct{ hosts.Transport }

func (refuser) Run(context.Context, []string) ([]byte, error) {
	return nil, renewer.WithHint(fmt.Errorf("run date: %w", remote.SudoError{User: "ops"}), "one command")
}

func (refuser) OpenDir(context.Context, string, bool) (hosts.Dir, error) {
	return nil, errors.New("no such file")
}

func TestWhatSudoRefusesIsToldAtOnce(t *testing.T) {
	t.Parallel()
	fleet, err := configs.Parse("renewer.yaml", []byte(`
state_dir: /var/lib/renewer
issuers: {fleet-ca: {type: local}}
hosts: {host-b: {user: ops, sudo: true, address: 10.0.1.2}}
certificates: [{name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	host := rights{refuser{}, fleet, "host-b"}
	_, err = host.Run(t.Context(), []string{"date"})
	for _, want := range []string{
		"visudo -f /etc/sudoers.d/renewer", "renewer host sudoers host-b", "sftp-server -u 077", "restart -- docker.service", "daemon-reload",
		"/usr/bin/docker -H unix", "/usr/bin/ss ", "/usr/bin/date -u", "/usr/bin/journalctl ", "ops ALL = (root) NOPASSWD: RENEWER",
	} {
		if !strings.Contains(renewer.Hint(err), want) {
			t.Errorf("the hint does not have %q: %s", want, renewer.Hint(err))
		}
	}
	if _, err := host.OpenDir(t.Context(), "/", false); renewer.Hint(err) != "" {
		t.Errorf("of another error: %q", renewer.Hint(err))
	}
}
