package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"renewer/docs/runbooks"
	"renewer/renewer/problems"
)

// Every command that the catalogue or a runbook names exists, with its flags and as
// many arguments.
func TestCommandsOfProblemsExist(t *testing.T) {
	t.Parallel()
	said := map[string]string{} // where, by command
	for _, row := range problems.All() {
		for _, command := range row.Run(problems.Names{Certificate: "NAME", Host: "HOST", Issuer: "ISSUER", Channel: "CHANNEL"}) {
			said[command] = string(row.ID)
		}
	}
	quoted := regexp.MustCompile("`(renewer [^`]+)`")
	for _, name := range runbooks.Names() {
		text, _ := runbooks.Page(name)
		for line := range strings.Lines(text) {
			if command, ok := strings.CutPrefix(line, "    renewer "); ok {
				command, _, _ = strings.Cut(command, "#")
				said["renewer "+strings.TrimSpace(command)] = name
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			said[strings.Join(strings.Fields(m[1]), " ")] = name
		}
	}
	checked := 0
	for command, where := range said {
		if args, ok := strings.CutPrefix(command, "renewer "); ok {
			checked++
			if err := exists(strings.Fields(args)); err != nil {
				t.Errorf("%s: %s: %v", where, command, err)
			}
		}
	}
	if checked < 40 {
		t.Fatalf("%d commands: the runbooks were not read whole", checked)
	}
	for _, wrong := range []string{"shew NAME", "show NAME --no-such-flag", "show", "history NAME --since soon"} {
		if exists(strings.Fields(wrong)) == nil {
			t.Errorf("renewer %s passes", wrong)
		}
	}
}

// exists reports why there is no such command.
func exists(args []string) error {
	cmd, rest, err := newRoot(&cli{}, nil).Find(args)
	if err != nil {
		return err
	}
	if !cmd.HasParent() {
		return fmt.Errorf("there is no such command")
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
