package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"renewer/internal/near"
	"renewer/renewer"
)

// meant are the commands that take the argument that another one was given.
var meant = map[string]string{
	"renewer list": "renewer show", "renewer status": "renewer show", "renewer plan": "renewer show", "renewer check": "renewer host check",
	"renewer run": "renewer renew",
}

// lists are the commands that name what an argument may be.
var lists = map[string]string{"NAME": "renewer list", "HOST": "renewer status", "CHANNEL": "renewer status", "ROOT": "renewer trust"}

// takes checks arguments by the Use line of a command: NAME is needed, [NAME] may be
// left out, and dots stand for any number. What follows the first flag does not count.
func takes(cmd *cobra.Command, args []string) error {
	least, most, missing := 0, 0, ""
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if word == "|" || strings.Contains(word, "--") {
			break
		}
		if most++; word[0] != '[' {
			if least++; least > len(args) && missing == "" {
				missing = strings.TrimSuffix(word, "...")
			}
		}
		if strings.Contains(word, "...") {
			most = len(args) + 1
		}
	}
	switch path := cmd.CommandPath(); {
	case missing != "":
		hint := path + " --help"
		if list := lists[missing]; list != "" {
			hint = "see which there are: " + list
		}
		return usage(hint, "%s needs %s", path, missing)
	case len(args) <= most:
		return nil
	case most == 0 && meant[path] != "":
		return usage(fmt.Sprintf("did you mean %s %s?", meant[path], args[0]), "%s takes no argument, and %q is given", path, args[0])
	case most == 0:
		return usage(path+" --help", "%s takes no argument, and %q is given", path, args[0])
	default:
		return usage(path+" --help", "%s takes %s, and %d are given", path, count(most, "argument"), len(args))
	}
}

// oneOfThese refuses a word that is none of the commands below one.
func oneOfThese(names func(*cobra.Command) []string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := cmd.CommandPath() + " --help"
		if name, ok := near.Word(args[0], names(cmd)); ok {
			hint = fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), name)
		}
		return usage(hint, "unknown command %q of %s", args[0], cmd.CommandPath())
	}
}

func below(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}

// wrongFlag says what is wrong with a flag, in one way for all.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var alone *pflag.ValueRequiredError
	path := cmd.CommandPath()
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		hint := path + " --help"
		if name, ok := near.Word(unknown.GetSpecifiedName(), names); ok {
			hint = "did you mean --" + name + "?"
		}
		return usage(hint, "unknown flag --%s of %s", unknown.GetSpecifiedName(), path)
	case errors.As(err, &unknown):
		return usage(path+" --help", "unknown flag -%s of %s", unknown.GetSpecifiedName(), path)
	case errors.As(err, &invalid):
		why := invalid.Unwrap().Error()
		switch f := invalid.GetFlag(); f.Value.Type() {
		case "int":
			why = "expected a whole number"
		case "bool":
			why = "expected true or false"
		}
		return usage("", "--%s is %q: %s", invalid.GetFlag().Name, invalid.GetValue(), why)
	case errors.As(err, &alone):
		return usage(path+" --help", "--%s needs a value", alone.GetFlag().Name)
	default:
		return usage(path+" --help", "%v", err)
	}
}

// usage is an error in what was typed, and what to type instead.
func usage(hint, format string, args ...any) error {
	return usageError{renewer.WithHint(fmt.Errorf(format, args...), hint)}
}

// checkArguments has every command below one check its arguments by its Use line, unless it has a
// check of its own. Before that, each argument and flag has to name something.
func checkArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		own := sub.Args
		if own == nil {
			own = takes
		}
		sub.Args = func(cmd *cobra.Command, args []string) error {
			if err := namesSomething(cmd, args); err != nil {
				return err
			}
			return own(cmd, args)
		}
		checkArguments(sub)
	}
}

// namesSomething refuses what an unset variable of a script leaves, which would stand for
// everything, and paths where a name is expected.
func namesSomething(cmd *cobra.Command, args []string) (err error) {
	words, path := strings.Fields(cmd.Use)[1:], cmd.CommandPath()
	for i, arg := range args {
		word := ""
		if len(words) > 0 && !cmd.HasSubCommands() {
			word = strings.TrimSuffix(strings.Trim(words[min(i, len(words)-1)], "[]"), "...")
		}
		switch {
		case arg == "":
			return usage(path+" --help", "%s is given an empty argument", path)
		case noName(arg) && !isPath(word):
			return usage(path+" --help", "%q is not a name", arg)
		}
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		word, _ := pflag.UnquoteUsage(f)
		values := []string{f.Value.String()}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			values = many.GetSlice()
		} else if f.Value.Type() != "string" {
			return
		}
		for _, value := range values {
			switch {
			case value == "":
				err = usage(path+" --help", "--%s of %s is empty", f.Name, path)
			case noName(value) && !isPath(word):
				err = usage(path+" --help", "--%s is %q, which is not a name", f.Name, value)
			}
		}
	})
	return err
}

func noName(text string) bool { return text == "." || text == ".." }

// isPath reports whether a word of a Use line or of a flag stands for a path.
func isPath(word string) bool { return word == "FILE" || word == "DIR" || word == "SOCKET" }

func commandNames(*cobra.Command) (names []string) {
	for _, cmd := range commands {
		names = append(names, cmd.name)
	}
	return append(names, "help", "completion")
}
