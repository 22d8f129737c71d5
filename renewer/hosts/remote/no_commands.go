package remote

import (
	"errors"
	"fmt"
	"strings"

	"renewer/renewer"
)

// NoCommandsError is wrapped by errors of an account that logs in and runs
// no command.
type NoCommandsError struct {
	User string
	Said string // by the host
}

func (e *NoCommandsError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("the account %s cannot run commands", e.User)
	}
	return fmt.Sprintf("the account %s cannot run commands; the host says: %s", e.User, e.Said)
}

// noCommands explains why not even the mark in front of a command was printed; how it ended
// instead is nil for exit status 0.
func (c *conn) noCommands(name, said string, how error) error {
	user := c.to.user
	forced := fmt.Sprintf("ForceCommand in its sshd_config (sshd -T -C user=%s,host=x,addr=::1 shows it), command= in ~%[1]s/.ssh/authorized_keys", user)
	var hint string
	switch {
	case strings.Contains(strings.ToLower(said), errSpeaksSFTP.Error()) && c.t.cfg.Sudo:
		hint = fmt.Sprintf("sudo: true needs commands, and the host allows %s SFTP only: exclude this account from ForceCommand in sshd_config; or set sudo: false, a dir: that belongs to %[1]s, activate: none, and a probe that connects to the service", user)
	case strings.Contains(strings.ToLower(said), errSpeaksSFTP.Error()):
		hint = fmt.Sprintf("ForceCommand internal-sftp in sshd_config allows %s SFTP only: exclude this account, or use activate: none and a probe that connects to the service", user)
	case said == "" && how == nil:
		hint = fmt.Sprintf("its shell exits before it runs the command; on the host, look for exit, exec and logout in %s, and for %s", startFiles(user), forced)
	default:
		hint = fmt.Sprintf("the account needs a shell; run on the host: getent passwd %s, then usermod -s /bin/sh %[1]s. If it has a shell, check %s, and look for exit in %s", user, forced, startFiles(user))
	}
	return misconfigured(fmt.Errorf("run %s: %w", name, &NoCommandsError{user, said}), hint)
}

// startFiles are what shells run before a command: bash (as sshd starts it), zsh, csh and
// fish; and what sshd does.
func startFiles(user string) string {
	return fmt.Sprintf("~%s/.bashrc (.zshenv, .cshrc, .config/fish/config.fish for other shells), /etc/bash.bashrc and ~%[1]s/.ssh/rc", user)
}

// endless explains a session that was cut for what the shell printed.
func (c *conn) endless(err error) error {
	return misconfigured(fmt.Errorf("the shell of account %s %w", c.to.user, err),
		fmt.Sprintf("on the host, find what prints that in %s; ssh -p %s %s@%s true 2>&1 | head -c 300 shows it", startFiles(c.to.user), c.to.port, c.to.user, c.to.host))
}

// hangs adds to an error of a time that is up where to look, as the shell has not come to
// what was wanted of it.
func (c *conn) hangs(err error) error {
	if errors.Is(err, ErrLost) || renewer.Hint(err) != "" {
		return err
	}
	return renewer.WithHint(err, fmt.Sprintf("on the host, find what waits or prints in %s; ssh -p %s %s@%s true shows whether it ends", startFiles(c.to.user), c.to.port, c.to.user, c.to.host))
}
