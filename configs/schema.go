package configs

import (
	"maps"
	"time"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

// The schema of the fleet file: every key, and how it is read.

var fleetSchema = schema{
	"include":      readInclude,
	"state_dir":    pathOf(false),
	"api":          object("api", apiSchema),
	"http":         object("http", httpSchema),
	"schedule":     object("schedule", schema{"check": scheduleReader, "probe": scheduleReader}),
	"seal":         object("seal", schema{"identity_file": pathOf(true), "recipients": soon("recipients", set("recipients", 1, text("an age recipient, age1…")))}),
	"defaults":     orEmpty(object("defaults", certificateSchema.without("name", "moved"))),
	"issuers":      orEmpty(dictionary("issuers", named(plainName, aName), issuerReader)),
	"hosts":        orEmpty(dictionary("hosts", named(hostName, aHostName), hostReader)),
	"groups":       orEmpty(dictionary("groups", named(plainName, aName), readGroup)),
	"certificates": orEmpty(rows("a certificate", certificateSchema)),
	"profiles":     orEmpty(dictionary("profiles", named(plainName, aName), profileReader)),
	"windows":      orEmpty(dictionary("windows", named(plainName, aName), windowReader)),
	"notify":       orEmpty(rows("a channel", channelSchema)),
	"watch":        soon("watch", rows("a watched certificate", watchSchema)),
	"fleet":        named(plainName, aName),
	"store":        soon("store", object("store", storeSchema)),
}

var apiSchema = schema{"socket": pathOf(false), "socket_group": account}

var httpSchema = schema{
	"listen":                textLike(aHostPort, func(s string) bool { return isHostPort(s, 0) }),
	"web_config":            pathOf(true),
	"allow_unauthenticated": boolean,
	"allowed_hosts":         set("names", 1, textLike("a DNS name or an IP address", isAddress)),
	"external_url":          textLike("an http:// or https:// URL", isPageURL),
}

// Bounds of durations. A leaf that lives less than a minute cannot be brought
// to a host and proven in time.
const (
	leastLifetime = 10 * time.Second
	mostLifetime  = 50 * 365 * day
)

var placementSchema = schema{
	"usages":   set("usages: server, client", 0, enum("server", "client")),
	"strict":   boolean,
	"key":      enum(keyTypes()...),
	"rekey":    boolean,
	"lifetime": duration(leastLifetime, mostLifetime),
	"renew_at": share(1, 99), "renew_before": duration(time.Second, mostLifetime), "jitter": share(0, 50),
	"sans":  list("DNS names and IP addresses", 0, template("a DNS name or an IP address", isSAN, "{names}")),
	"dir":   template(aPath, isPath),
	"files": filesReader,
	"owner": account, "group": account,
	"modes":    object("modes", modesSchema()),
	"activate": readActivation, "probe": readProbe,
	"guard":   readGuard,
	"reloads": object("reloads", schema{"leaf": enum("automatic", "restart"), "trust": enum("automatic", "restart")}),
}

var certificateSchema = placementSchema.with(schema{
	"name":            named(certificateName, aCertificateName),
	"issuer":          text("the name of an issuer"),
	"profile":         text("the name of a profile"),
	"hosts":           set("names of hosts and @GROUP", 1, text("the name of a host, or @GROUP")),
	"per_host":        boolean,
	"common_name":     template("a name of one line", anything),
	"default_sans":    boolean,
	"peer_group":      named(plainName, aName),
	"trust":           set("names of issuers and {file: FILE}", 1, readTrust),
	"settle":          duration(0, mostLifetime),
	"tolerate":        duration(time.Second, mostLifetime),
	"secret":          soon("secret", template("the name of a Secret", isDNSName)),
	"moved":           readMoved,
	"dials":           set("addresses", 1, template(aHostPort, func(s string) bool { return isHostPort(s, 1) })),
	"window":          text("the name of a window"),
	"override_before": duration(0, mostLifetime),
	"rollout":         object("rollout", schema{"canary": integer(0, 100000), "max_parallel": integer(1, 100000), "pause": duration(0, 7*day)}),
})

var profileSchema = placementSchema.with(schema{
	"description": text("a line of text"),
	"refuse":      object("refuse", schema{"systemd": text("the reason"), "signal": text("the reason"), "command": text("the reason"), "docker": text("the reason"), "reload": text("the reason")}),
})

var channelSchema = schema{
	"name":     named(plainName, aName),
	"events":   set("events", 1, enum(eventTypes...)),
	"url_file": pathOf(true),
	"webhook":  object("webhook", schema{"url_file": pathOf(true), "hmac_file": pathOf(true)}),
	"smtp": object("smtp", schema{
		"address": textLike(aHostPort, func(s string) bool { return isHostPort(s, 1) }),
		"from":    text("a mail address"), "to": set("mail addresses", 1, text("a mail address")),
		"username": text("a user name"), "password_file": pathOf(true),
		"tls": enum("starttls", "implicit", "none"), "ca_cert": pathOf(true),
	}),
	"exec":     argv,
	"template": pathOf(false),
}

// eventTypes are what a channel may ask for: what an operator would act on.
var eventTypes = []string{
	string(renewer.EventRenewalFailed), string(renewer.EventRolloutBlocked), string(renewer.EventRolledBack),
	string(renewer.EventExpiring), string(renewer.EventExpired), string(renewer.EventDrifted),
	string(renewer.EventUnreachable), string(renewer.EventRecovered), string(renewer.EventRolloutDone),
	string(renewer.EventRestoreFailed), string(renewer.EventIssueWarning), string(renewer.EventOrderWaiting), string(renewer.EventLifetimeTooShort), string(renewer.EventIssuerDown),
	string(renewer.EventBudgetExceeded), string(renewer.EventRevoked),
	string(renewer.EventCARotationWaiting), string(renewer.EventCARotationStarted), string(renewer.EventCARotationDone),
}

// merges reports whether the mappings of a key are merged key by key; a value
// of any other key replaces the one below it.
func merges(key string) bool { return key == "files" || key == "modes" || key == "reloads" }

// excludes returns the key that does not count below one that stands nearer.
func excludes(key string) string {
	switch key {
	case "renew_at":
		return "renew_before"
	case "renew_before":
		return "renew_at"
	}
	return ""
}

// layers are settings from several places, the nearest first.
type layers [3]settings

func (ls *layers) find(key string) (setting, bool) { return find(ls[:], key) }

func (ls *layers) has(key string) bool {
	_, ok := ls.find(key)
	return ok
}

func find(ls []settings, key string) (setting, bool) {
	for i, s := range ls {
		if x, ok := s[key]; ok {
			if merges(key) {
				x.value = merge(x.value, ls[i+1:], key)
			}
			return x, true
		}
		if other := excludes(key); other != "" && s.has(other) {
			break
		}
	}
	return setting{}, false
}

// merge lays a mapping over what is below it.
func merge(upper any, below []settings, key string) any {
	lower, ok := find(below, key)
	if !ok || lower.value == nil || upper == nil {
		return upper
	}
	both := maps.Clone(lower.value.(settings))
	maps.Copy(both, upper.(settings))
	return both
}

// over lays upper settings over lower ones.
func over(lower, upper settings) settings {
	both, out := &layers{upper, lower}, settings{}
	for _, s := range *both {
		for k := range s {
			if x, ok := both.find(k); ok {
				out[k] = x
			}
		}
	}
	return out
}

// item is one entry of a dictionary.
type item struct {
	name  string
	at    pos
	value any
}

// dictionary reads a mapping of names that the user chose; its value is []item,
// in the order of the file. An entry with a fault has no value.
func dictionary(what string, name, read reader) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		out := make([]item, 0, len(n.Content)/2)
		word := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
		ok := l.entries(at, n, what, func(key string, at pos, n *yaml.Node) {
			l.about("a name in " + what)
			word.Value = key
			if _, ok := name(l, at, &word); !ok {
				return
			}
			v, ok := read(l, at, n)
			if !ok {
				v = nil
			}
			out = append(out, item{key, at, v})
		})
		if !ok {
			return nil, false
		}
		return out, true
	}
}
