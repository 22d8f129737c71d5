package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"renewer/renewer"
)

// notices is the log of a command that ends by itself: warnings as those of every
// command, in plain lines. An event that is a failure is left out, since the result
// of the command says it.
type notices struct {
	c     *cli
	attrs []slog.Attr
}

func (n notices) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (n notices) WithAttrs(attrs []slog.Attr) slog.Handler {
	return notices{n.c, append(n.attrs[:len(n.attrs):len(n.attrs)], attrs...)}
}

func (n notices) WithGroup(string) slog.Handler { return n }

func (n notices) Handle(_ context.Context, r slog.Record) error {
	isEvent := !strings.Contains(r.Message, " ") // its type
	if isEvent && r.Level >= slog.LevelError {
		return nil
	}
	said := map[string]string{}
	var about, more []string
	take := func(a slog.Attr) bool {
		switch value := a.Value.String(); a.Key {
		case "certificate", "host":
			about = append(about, value)
		case "message", "error", "hint":
			said[a.Key] = value
		case "rollout", "generation":
		default:
			more = append(more, a.Key+" "+value)
		}
		return true
	}
	for _, a := range n.attrs {
		take(a)
	}
	r.Attrs(take)
	parts := []string{strings.Join(about, " on "), r.Message, said["message"], said["error"]}
	if isEvent && said["message"] != "" {
		parts[1] = ""
	}
	text := strings.Join(strings.FieldsFunc(strings.Join(parts, "\x00"), func(c rune) bool { return c == 0 }), ": ")
	if len(more) > 0 {
		text += fmt.Sprintf(" (%s)", strings.Join(more, ", "))
	}
	err := renewer.WithHint(errors.New(text), said["hint"])
	if r.Level >= slog.LevelError {
		n.c.complain(err)
	} else {
		n.c.caution(err)
	}
	return nil
}
