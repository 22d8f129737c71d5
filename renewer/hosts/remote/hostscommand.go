package remote

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostsCommand is KnownHostsCommand of ssh_config(5): a program, and no line for a shell,
// that prints lines as known_hosts has them.
type hostsCommand struct {
	c      *Client
	argv   []string
	at     string   // file:line
	tokens []string // but for those of one call
}

// hostsTimeout is what the program may take.
const hostsTimeout = 10 * time.Second

// ask runs the program: first for which types of keys are known, and then for the key
// that the host shows, of which it may want to know more.
func (h *hostsCommand) ask(ctx context.Context, host string, key ssh.PublicKey) (*knownHosts, error) {
	why, kind, print, blob := "ORDER", "NONE", "NONE", "NONE"
	if key != nil {
		why, kind, print, blob = "HOSTNAME", key.Type(), ssh.FingerprintSHA256(key), base64.StdEncoding.EncodeToString(key.Marshal())
	}
	in := strings.NewReplacer(append([]string{"%I", why, "%H", host, "%t", kind, "%f", print, "%K", blob}, h.tokens...)...)
	var argv []string
	for _, word := range h.argv {
		word, err := h.c.filled(word, in)
		if err != nil {
			return nil, h.failed(err, "")
		}
		argv = append(argv, word)
	}
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, h.failed(errors.New("the program needs its full path"), "")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hostsTimeout, fmt.Errorf("not finished within %s", hostsTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.WaitDelay = h.c.environment(), time.Second
	said, lines := &tail{limit: outputKept}, &atMost{left: fileLimit}
	cmd.Stderr, cmd.Stdout = said, lines
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, h.failed(err, said.line())
	}
	k, err := parseKnownHosts(&lines.text, h.name())
	if err == nil {
		h.c.tellSkipped(k)
	}
	return k, err
}

func (h *hostsCommand) name() string { return "KnownHostsCommand (" + h.at + ")" }

func (h *hostsCommand) failed(err error, said string) error {
	err = fmt.Errorf("%s %s: %w", h.name(), strings.Join(h.argv, " "), err)
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return misconfigured(err, "run it as renewer's user to see why; or set known_hosts_file: of the host in the fleet file instead")
}

// atMost keeps what is written to it, and ends a writer that writes more.
type atMost struct {
	text bytes.Buffer
	left int
}

func (a *atMost) Write(p []byte) (int, error) {
	if a.left -= len(p); a.left < 0 {
		return 0, errTooLarge
	}
	return a.text.Write(p)
}
