package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// What both ends of the API agree on.

// endTrailer is the trailer of a streamed answer: endOK, or a wireError. A
// stream without it was cut.
const (
	endTrailer = "Renewer-End"
	endOK      = "ok"
	// sudoHeader names who became root through sudo, as sudo said it: a hint.
	sudoHeader  = "Renewer-Sudo-User"
	serverName  = "renewer/"
	problemType = "application/problem+json"
)

// heartbeat is how often a stream that waits sends a blank line, and
// clientPatience how long the client waits for anything at all.
const (
	heartbeat      = 15 * time.Second
	clientPatience = 90 * time.Second
)

// line is one line of a stream of events; the last has a result, an error, or
// both. Blank lines keep the connection alive.
type line[T any] struct {
	Event  *renewer.Event `json:"event,omitempty"`
	Result *T             `json:"result,omitempty"`
	Error  *wireError     `json:"error,omitempty"`
}

// wireError is an error as RFC 9457 has it, with what renewer adds: the hint and
// the class. Within a stream it has neither title nor status.
type wireError struct {
	Title  string        `json:"title,omitempty"` // of the status
	Status int           `json:"status,omitempty"`
	Detail string        `json:"detail"` // what failed, and why
	Hint   string        `json:"hint,omitempty"`
	Class  renewer.Class `json:"class,omitempty"`
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Detail: err.Error(), Hint: renewer.Hint(err)}
	if c := renewer.ClassOf(err); c != renewer.ClassRetry {
		w.Class = c
	}
	return w
}

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	return &renewer.Error{Class: w.Class, Hint: w.Hint, Err: errors.New(w.Detail)}
}

// fields calls f for each field of a request, by its JSON name.
func fields(req reflect.Value, f func(name string, v reflect.Value)) {
	for i := range req.NumField() {
		name, _, _ := strings.Cut(req.Type().Field(i).Tag.Get("json"), ",")
		f(name, req.Field(i))
	}
}

// inPath reports whether a field of a request is a part of its path.
func (r *route) inPath(name string) bool { return strings.Contains(r.path, "{"+name+"}") }

// target is the path and query of a request.
func (r *route) target(req any) string {
	path, query := Prefix+r.path, url.Values{}
	fields(reflect.ValueOf(req), func(name string, v reflect.Value) {
		if r.inPath(name) {
			path = strings.Replace(path, "{"+name+"}", segment(v.String()), 1)
		} else if texts := texts(v); len(texts) > 0 && !r.acting() {
			query[name] = texts
		}
	})
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path
}

// segment is a name as a part of a path, which stays that part where a path is cleaned.
func segment(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// nameless reports whether a name that is a part of the path is empty: the path would be
// that of another route.
func (r *route) nameless(req any) (nameless bool) {
	fields(reflect.ValueOf(req), func(name string, v reflect.Value) { nameless = nameless || r.inPath(name) && v.String() == "" })
	return nameless
}

// request reads a request: fields of its path, and the parameters of a GET or else
// the body. A parameter that is unknown is an error.
func request[Req any](w http.ResponseWriter, r *http.Request) (req Req, err error) {
	query := url.Values{}
	if r.Method == http.MethodPost {
		if err := body(w, r, &req); err != nil {
			return req, err
		}
	} else if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return req, requestError{fmt.Errorf("read the parameters: %w", err)}
	}
	fields(reflect.ValueOf(&req).Elem(), func(name string, v reflect.Value) {
		if text := r.PathValue(name); text != "" {
			v.SetString(text)
			return
		}
		given, ok := query[name]
		delete(query, name)
		if !ok || err != nil {
			return
		}
		if e := parse(v, given); e != nil {
			err = requestError{fmt.Errorf("parameter %s is %q; expected %w", name, strings.Join(given, ","), e)}
		}
	})
	for name := range query {
		if err == nil {
			err = requestError{fmt.Errorf("unknown parameter %q", name)}
		}
	}
	return req, err
}

// texts is a value as it stands in a URL; none for a zero value.
func texts(v reflect.Value) []string {
	if v.IsZero() {
		return nil
	}
	switch x := v.Interface().(type) {
	case []string:
		return x
	case time.Time:
		return []string{x.Format(time.RFC3339Nano)}
	default:
		return []string{fmt.Sprint(x)}
	}
}

// parse reads what texts writes, and what is easier to type. The error is what was
// expected.
func parse(v reflect.Value, given []string) (err error) {
	text, what := given[0], "a number"
	if len(given) > 1 && v.Kind() != reflect.Slice {
		return errors.New("one value")
	}
	switch into := v.Addr().Interface().(type) {
	case *[]string:
		*into = given
	case *bool:
		*into, what = true, "true or false"
		if text != "" {
			*into, err = strconv.ParseBool(text)
		}
	case *time.Time:
		what = "a time such as 2026-11-22T05:00:00Z, or how long ago, such as 24h or 7d"
		ago, notAgo := parseDuration(text)
		if *into = time.Now().Add(-ago); notAgo != nil {
			*into, err = time.Parse(time.RFC3339Nano, text)
		}
	case *time.Duration:
		what = "a duration such as 90s, 72h, 30d or 2w"
		*into, err = parseDuration(text)
	case *int:
		*into, err = strconv.Atoi(text)
	case *uint64:
		*into, err = strconv.ParseUint(text, 10, 64)
	default:
		v.SetString(text)
	}
	if err != nil {
		return errors.New(what)
	}
	return nil
}

// foretold is a request of a forecast as it stands in a URL.
type foretold struct {
	For     time.Duration `json:"for,omitempty"`    // how far ahead; default: a year
	Outages []string      `json:"outage,omitempty"` // an issuer or host that is away from now on, such as corp-vault=7d; repeatable
}

func (f foretold) request() (forecast.Request, error) {
	r := forecast.Request{For: cmp.Or(f.For, 365*24*time.Hour)}
	for _, text := range f.Outages {
		of, long, _ := strings.Cut(text, "=")
		d, err := parseDuration(long)
		if err != nil {
			return r, requestError{fmt.Errorf("parameter outage is %q; expected an issuer or a host and how long it is away, such as corp-vault=7d", text)}
		}
		r.Outages = append(r.Outages, forecast.Outage{Of: of, For: d})
	}
	return r, nil
}

// parseDuration reads a duration of Go, or days, weeks or years.
func parseDuration(text string) (time.Duration, error) {
	const most = 36500 // days
	for suffix, days := range map[string]int{"d": 1, "w": 7, "y": 365} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			if int(n)*days > most {
				err = strconv.ErrRange
			}
			return time.Duration(n) * time.Duration(days) * 24 * time.Hour, err
		}
	}
	d, err := time.ParseDuration(text)
	if d <= 0 && err == nil {
		err = strconv.ErrRange
	}
	return d, err
}
