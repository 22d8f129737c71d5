package hosts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"renewer/renewer"
)

// show returns properties of a unit (systemctl(1), show), "" for an unset one.
func (h *Host) show(ctx context.Context, unit string, props ...string) (map[string]string, error) {
	out, err := h.systemd(ctx, showArgs(unit, props...)...)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(props))
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && slices.Contains(props, name) {
			values[name] = value
		}
	}
	return values, nil
}

func (h *Host) systemd(ctx context.Context, args ...string) (string, error) {
	return h.systemdGiven(ctx, nil, args...)
}

// systemdGiven is systemd where directories have to be there.
func (h *Host) systemdGiven(ctx context.Context, given []string, args ...string) (string, error) {
	out, err := h.output(ctx, called(h.systemctl, systemctlArgs(args...)), given...)
	if err == nil {
		return out, nil
	}
	err = fmt.Errorf("systemctl %s %s: %w", args[0], args[len(args)-1], err)
	switch {
	case strings.Contains(out, "Connection reset by peer"), strings.Contains(out, "Transport endpoint is not connected"): // systemd leaves its bus when the host goes down
		err = fmt.Errorf("%w: %w", renewer.ErrUnreachable, err)
	case strings.Contains(out, "not been booted with systemd"), strings.Contains(out, "Failed to connect to bus"):
		err = renewer.WithHint(err, "this host does not run systemd: use activate: signal or command")
	case strings.Contains(out, "ccess denied"), strings.Contains(out, "authentication required"):
		err = renewer.WithHint(err, "run renewer as root, or allow its user to manage the unit (polkit)")
	}
	return out, err
}

// activateUnits restarts or reloads units, all that run in one go. A unit
// that failed is restarted: an activation before this one may be the cause.
// One that is stopped, or about to be, is left alone unless it is to be
// brought up again; where only that is asked, all are.
func (h *Host) activateUnits(ctx context.Context, a renewer.Activation, ask bool) (renewer.Activated, error) {
	var restart, reload, stopped []string
	for _, unit := range a.Units {
		if !unitName(unit) {
			return renewer.Activated{}, &renewer.Error{Class: renewer.ClassMisconfigured, Err: fmt.Errorf("%q is not the name of a unit", unit)}
		}
		st, err := h.show(ctx, unit, stateProps...)
		if err != nil {
			return renewer.Activated{}, err
		}
		state := st["ActiveState"]
		switch {
		case st["LoadState"] != "loaded":
			return renewer.Activated{}, &renewer.Error{
				Class: renewer.ClassMisconfigured,
				Err:   fmt.Errorf("unit %s cannot be activated: systemd reports %q", unit, st["LoadState"]),
				Hint:  "check the name under units: with `systemctl status " + unit + "`",
			}
		case !a.Bring && (state == "inactive" || state == "deactivating"):
			stopped = append(stopped, fmt.Sprintf("%s (%s, %s)", unit, state, st["SubState"]))
		case a.Action != "reload", state != "active" && state != "reloading":
			restart = append(restart, unit)
		case st["CanReload"] != "yes":
			return renewer.Activated{}, &renewer.Error{
				Class: renewer.ClassMisconfigured,
				Err:   fmt.Errorf("unit %s cannot be reloaded: it has no ExecReload=", unit),
				Hint:  "use action: restart",
			}
		default:
			reload = append(reload, unit)
		}
	}
	if len(stopped) > 0 {
		if err := h.goingDown(ctx); err != nil { // which has stopped it
			return renewer.Activated{}, err
		}
	}
	out := renewer.Activated{NotRunning: strings.Join(stopped, ", ")}
	if ask {
		return out, nil
	}
	given, err := h.given(ctx, a.Dirs)
	if err != nil {
		return out, err
	}
	if len(restart) > 0 {
		// Without this a unit that used up StartLimitBurst= stays down, however
		// good its files are now. A unit that systemd has let go of since is not known
		// to it then, and has nothing to be reset.
		if _, err := h.systemdGiven(ctx, given, append([]string{"reset-failed", "--"}, restart...)...); errors.Is(err, renewer.ErrUnreachable) {
			return out, err
		}
		if _, err := h.systemdGiven(ctx, given, append([]string{"restart", "--"}, restart...)...); err != nil {
			return out, h.whetherDown(ctx, journal(err, restart))
		}
	}
	if len(reload) > 0 {
		if _, err := h.systemdGiven(ctx, given, append([]string{"reload", "--"}, reload...)...); err != nil {
			return out, h.whetherDown(ctx, journal(err, reload))
		}
	}
	return out, nil
}

// whetherDown tells the failure of a unit from that of a host which is going
// down: systemd then refuses to start anything, and the next boot starts it.
func (h *Host) whetherDown(ctx context.Context, err error) error {
	if errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	if down := h.goingDown(ctx); down != nil {
		return fmt.Errorf("%w: %w", down, err)
	}
	return err
}

// goingDown returns an error if the host is being shut down.
func (h *Host) goingDown(ctx context.Context) error {
	out, err := h.systemd(ctx, "is-system-running")
	if slices.Contains(strings.Fields(out), "stopping") {
		return fmt.Errorf("%w: the host is shutting down", renewer.ErrUnreachable)
	}
	if errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	return nil // its other answers end with an error too
}

func journal(err error, units []string) error {
	if renewer.Hint(err) != "" {
		return err
	}
	return renewer.WithHint(err, "run on the host: journalctl -n 50 -u "+strings.Join(units, " -u "))
}

// unitName is a unit's name as systemd.unit(5) has it: no option, no pattern.
func unitName(s string) bool {
	return s != "" && len(s) < 256 && s[0] != '-' && strings.Trim(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@") == ""
}
