package configs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"
)

const aSchedule = `a cron spec in UTC such as "0 * * * *", "@hourly" or "@every 10m"`

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// schedule is a cron schedule with the text that it came from.
type schedule struct {
	cron.Schedule
	spec string
}

// parseSchedule reads a robfig/cron spec, in UTC. A time zone in the spec is
// refused before the library sees it: on "TZ=UTC" alone it panics.
func parseSchedule(spec string) (cron.Schedule, error) {
	if every, ok := strings.CutPrefix(spec, "@every "); ok {
		every = strings.TrimSpace(every)
		d, err := ParseDuration(every)
		if err != nil {
			d, err = time.ParseDuration(every)
		}
		if err != nil || d < time.Second || d > longest {
			return nil, fmt.Errorf("%s is not an interval of a second or more", quote(every))
		}
		return cron.Every(d), nil
	}
	if strings.Contains(spec, "=") {
		return nil, errors.New("a time zone is not allowed here")
	}
	if len(spec) > 200 {
		return nil, errors.New("the spec is too long")
	}
	spec, err := crontab(spec)
	if err != nil {
		return nil, err
	}
	s, err := cronParser.Parse(spec)
	if err != nil {
		return nil, err
	}
	fields, ok := s.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("not a schedule")
	}
	fields.Location = time.UTC
	// Any time will do as the start: the library looks five years ahead.
	if fields.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("that day does not exist")
	}
	return fields, nil
}

func scheduleReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	s, ok := l.scalar(at, n, aSchedule, "!!str")
	if !ok {
		return nil, false
	}
	sched, err := parseSchedule(s)
	if err != nil {
		l.fault(at, fmt.Sprintf("schedule %s: %v", quote(s), err), "expected "+aSchedule)
		return nil, false
	}
	return schedule{sched, s}, true
}

func mustSchedule(spec string) schedule {
	s, err := parseSchedule(spec)
	if err != nil {
		panic(err)
	}
	return schedule{s, spec}
}
