package daemon

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/engine"
)

// mostRequested is how many certificates of one request have an event each.
const mostRequested = 100

// requested records a request of an operator before it is carried out: an event for
// each certificate, or one with their number. What renewer does by itself is none.
func (a *App) requested(ctx context.Context, what renewer.Event, certificates ...string) error {
	what.By = renewer.OperatorOf(ctx)
	if what.By == "" {
		return nil
	}
	what.Time, what.Type = time.Now(), renewer.EventRequested
	what.Message += " requested by " + what.By
	if n := len(certificates); n == 0 || n > mostRequested {
		if n > 0 {
			what.Message += fmt.Sprintf(", of %d certificates", n)
		}
		certificates = []string{""}
	}
	var events []renewer.Event
	for _, name := range certificates {
		what.Certificate = name
		events = append(events, what)
	}
	_, err := a.store.Commit(ctx, engine.Change{Events: events})
	return err
}

// said is what was asked for, with the options that were given.
func said(what string, options ...any) string {
	var given []string
	for i := 0; i+1 < len(options); i += 2 {
		switch v := reflect.ValueOf(options[i+1]); {
		case v.IsZero():
		case v.Kind() == reflect.Bool:
			given = append(given, fmt.Sprint(options[i]))
		default:
			given = append(given, fmt.Sprint(options[i], " ", v))
		}
	}
	if len(given) == 0 {
		return what
	}
	return what + " (" + strings.Join(given, ", ") + ")"
}
