package main

import (
	"bytes"
	"strings"
	"testing"

	"renewer/renewer"
)

// What is being read is no command to run next.
func TestStatusDoesNotSendToItself(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{out: &out, errOut: &out}
	c.showProblem(renewer.Problem{Kind: "host", Name: "away", Commands: []string{"renewer doctor away", "renewer status"}}, "")
	if text := out.String(); !strings.Contains(text, "run: renewer doctor away") || strings.Contains(text, "renewer status") {
		t.Error(text)
	}
}
