package notify

import (
	"cmp"
	"net/url"
	"strings"
)

// level is how urgent a message is.
type level string

// The levels: critical and warning as the worst problem that the message
// opens, warning where its severity is not known; info where it opens none.
const (
	critical level = "critical"
	warning  level = "warning"
	info     level = "info"
)

// level returns the level of a message; one of an older version says none.
func (m Message) level() level { return level(cmp.Or(m.Severity, m.worst())) }

// worst is the level that the lists of a message call for.
func (m Message) worst() string {
	worst := info
	for _, t := range m.Open {
		if worst = warning; level(t.Severity) == critical {
			return string(critical)
		}
	}
	return string(worst)
}

// mailPriority are the headers of mail by level: X-Priority as mail programs
// read it, Importance by RFC 2156.
var mailPriority = map[level][][2]string{
	critical: {{"X-Priority", "1 (Highest)"}, {"Importance", "high"}},
	warning:  {{"X-Priority", "3 (Normal)"}, {"Importance", "normal"}},
	info:     {{"X-Priority", "5 (Lowest)"}, {"Importance", "low"}},
}

// urgency are the parameters by which services of shoutrrr say how urgent a
// message is, or show it by colour.
var urgency = map[string]map[level][2]string{
	"ntfy":      {critical: {"priority", "5"}, warning: {"priority", "4"}, info: {"priority", "2"}},
	"gotify":    {critical: {"priority", "8"}, warning: {"priority", "5"}, info: {"priority", "2"}},
	"pushover":  {critical: {"priority", "1"}, warning: {"priority", "0"}, info: {"priority", "-1"}},
	"opsgenie":  {critical: {"priority", "P1"}, warning: {"priority", "P3"}, info: {"priority", "P5"}},
	"pagerduty": {critical: {"severity", "critical"}, warning: {"severity", "warning"}, info: {"severity", "info"}},
	"telegram":  {critical: {"notification", "yes"}, warning: {"notification", "yes"}, info: {"notification", "no"}},
	"slack":     {critical: {"color", "danger"}, warning: {"color", "warning"}, info: {"color", "good"}},
	"discord":   {critical: {"color", "0xd60510"}, warning: {"color", "0xffc441"}, info: {"color", "0x2488ff"}},
	"teams":     {critical: {"color", "d60510"}, warning: {"color", "ffc441"}, info: {"color", "2488ff"}},
}

// links are the parameters by which services take the address of the page that
// a message leads to.
var links = map[string]string{"ntfy": "click", "bark": "url", "lark": "link", "pagerduty": "client_url"}

// parameters are what a service of shoutrrr gets beside title and text. What
// its URL sets already stays as the operator wrote it.
func (d delivery) parameters(service string, u *url.URL) map[string]string {
	out := map[string]string{}
	if p, ok := urgency[service][d.Level]; ok {
		out[p[0]] = p[1]
	}
	if name := links[service]; name != "" && d.Page != "" {
		out[name] = d.Page
	}
	if service == "pagerduty" {
		out["source"], out["client"] = d.Fleet, "renewer"
		if !d.Notice { // one incident a fleet, for as long as it has a problem
			out["dedup_key"], out["action"] = "renewer/"+d.Fleet, "trigger"
			if d.Remaining == 0 && d.Level == info {
				out["action"] = "resolve"
			}
		}
	}
	for name := range u.Query() {
		for own := range out {
			if strings.EqualFold(own, name) {
				delete(out, own)
			}
		}
	}
	return out
}
