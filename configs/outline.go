package configs

import (
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"renewer/renewer"
)

// Outline returns what two fleet files are compared by: what every entry stands for,
// with defaults and profiles filled in.
func (f *Fleet) Outline() renewer.Outline {
	settings := renewer.Part{Kind: "settings", Fields: map[renewer.Field]renewer.Value{}}
	rest := *f // what no entry says
	rest.Path, rest.Digest, rest.Schedule.Check, rest.Schedule.Probe = "", "", nil, nil
	rest.Issuers, rest.Hosts, rest.Certificates, rest.Profiles, rest.Channels = nil, nil, nil, nil, nil
	rest.Name = ""
	outline(settings.Fields, renewer.Field{}, rest)
	outline(settings.Fields, renewer.Field{Name: "fleet"}, f.Name)
	out := renewer.Outline{settings}
	add := func(kind, name string, v any) *renewer.Part {
		p := renewer.Part{Kind: kind, Name: name, Fields: map[renewer.Field]renewer.Value{}}
		outline(p.Fields, renewer.Field{}, v)
		delete(p.Fields, renewer.Field{Name: "name"})
		out = append(out, p)
		return &out[len(out)-1]
	}
	for _, is := range f.Issuers {
		add("issuer", is.Name, is)
	}
	for _, name := range slices.Sorted(maps.Keys(f.windows)) {
		add("window", name, f.windows[name])
	}
	for _, c := range f.Channels {
		add("channel", c.Name, c)
	}
	for _, h := range f.Hosts {
		add("host", h.Name, h)
	}
	for i := range f.Certificates {
		c := f.Certificates[i]
		placements := c.Placements
		c.Placements, c.Entry, c.Position, c.Renewal.Lead = nil, "", "", 0
		p := add("certificate", c.Name, c)
		if outage, ok := f.tolerate[f.Certificates[i].Entry]; ok { // as it is written, not what follows from it
			outline(p.Fields, renewer.Field{Name: "tolerate"}, outage)
		}
		if c.From != "" {
			p.From = c.FormerNames()
			delete(p.Fields, renewer.Field{Name: "from"})
		}
		hosts := []string{}
		for _, pl := range placements {
			hosts = append(hosts, pl.Host)
			p.At = append(p.At, pl.Machine+" "+pl.Layout())
			at := pl.Host
			pl.Certificate, pl.Host, pl.Machine = "", "", ""
			outline(p.Fields, renewer.Field{Host: at}, pl)
		}
		p.Fields[renewer.Field{Name: "hosts"}] = renewer.Value{Set: hosts}
	}
	return out
}

// called are the keys whose names in the fleet file are not those of the fields.
var called = map[string]string{
	"sa_ns": "sans", "socket": "api.socket", "seal_identity_file": "seal.identity_file",
	"schedule.check_spec": "schedule.check", "schedule.probe_spec": "schedule.probe",
	"renewal.at": "renew_at", "renewal.before": "renew_before", "renewal.jitter": "jitter",
	"pace.canary": "rollout.canary", "pace.max_parallel": "rollout.max_parallel", "pace.pause": "rollout.pause",
	"spec": "cron", "location": "timezone",
	"webhook_url_file": "webhook.url_file", "webhook_hmac_file": "webhook.hmac_file", "revoke_with": "revoke",
}

// commands are lists whose order counts.
var commands = map[string]bool{"command": true, "sign": true, "revoke": true, "exec": true}

// outline writes the fields of a value that say something, as text.
func outline(into map[renewer.Field]renewer.Value, at renewer.Field, value any) {
	set := func(text string) { into[at] = renewer.Value{Text: text} }
	switch v := value.(type) {
	case time.Duration:
		switch {
		case v < 0: // settle: 0s
			set("0s")
		case v > 0:
			set(FormatDuration(v))
		}
		return
	case fs.FileMode:
		set(fmt.Sprintf("%04o", uint32(v)))
		return
	case *time.Location:
		set(v.String())
		return
	}
	v := reflect.ValueOf(value)
	if !v.IsValid() {
		return
	}
	under := func(name string, value reflect.Value) {
		next := at
		if next.Name += "." + name; at.Name == "" {
			next.Name = name
		}
		if known, ok := called[next.Name]; ok {
			next.Name = known
		}
		outline(into, next, value.Interface())
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			outline(into, at, v.Elem().Interface())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch f := v.Type().Field(i); {
			case !f.IsExported():
			case f.Anonymous:
				outline(into, at, v.Field(i).Interface())
			default:
				under(key(f.Name), v.Field(i))
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			under(k.String(), v.MapIndex(k))
		}
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, fmt.Sprint(v.Index(i).Interface()))
		}
		if commands[at.Name[strings.LastIndexByte(at.Name, '.')+1:]] && len(items) > 0 {
			set(strings.Join(items, " "))
		} else if len(items) > 0 {
			into[at] = renewer.Value{Set: items}
		}
	default:
		if !v.IsZero() {
			into[at] = renewer.Value{Text: fmt.Sprint(value), Flag: v.Kind() == reflect.Bool}
		}
	}
}

// key writes a name of a field as the fleet file does: RootFingerprint is
// root_fingerprint, and CACert ca_cert.
func key(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
