package daemon

import (
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// tellSystemd tells systemd where the daemon is (sd_notify(3)); without systemd it
// does nothing.
func tellSystemd(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("could not notify systemd", "state", state, "error", err)
	}
}

// watchdogTicks ticks at half of the unit's WatchdogSec=; never without one.
func watchdogTicks() (ticks <-chan time.Time, stop func()) {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every / 2)
	return t.C, t.Stop
}
