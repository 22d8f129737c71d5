package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/renewer"
)

// choice is a flag with one of a few values.
type choice struct {
	value   *string
	allowed []string
	kind    string
}

func (c choice) String() string { return *c.value }
func (c choice) Type() string   { return c.kind }
func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("expected %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

// duration is a flag that is written as in the fleet file, such as 30d.
type duration time.Duration

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return configs.FormatDuration(time.Duration(*d))
}
func (d *duration) Type() string { return "DURATION" }
func (d *duration) Set(s string) error {
	v, err := configs.ParseDuration(s)
	*d = duration(v)
	return err
}

var statuses = func() (out []string) {
	for _, s := range renewer.Statuses {
		out = append(out, string(s))
	}
	return out
}()
