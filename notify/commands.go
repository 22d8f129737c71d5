package notify

import (
	"slices"
	"strings"

	"renewer/renewer/problems"
)

// maxSpelled is how many commands of a kind are spelled out; more become one
// with a placeholder.
const maxSpelled = 3

// Placeholders are what a command has in place of a name.
const (
	anyCertificate = "CERTIFICATE"
	anyHost        = "HOST"
)

// run puts a problem's names into commands. One that needs a name which the
// problem does not have is left out.
func run(patterns []string, k key) []string {
	return problems.Row{Commands: patterns}.Run(problems.Names{Certificate: k.certificate, Host: k.host, Issuer: k.issuer})
}

// commands returns what helps problems of one kind: a line for each distinct
// command, with the names that it is for unless it says them itself; and one
// for all. Where there are many, that one is the only line, and most bounds
// what it lists of what its placeholder stands for.
func commands(list []Problem, most int) (lines []Command, whole string) {
	of := map[string]int{}
	for _, t := range list {
		if t.Command == "" {
			continue
		}
		i, seen := of[t.Command]
		if !seen {
			i = len(lines)
			of[t.Command] = i
			lines = append(lines, Command{Run: t.Command})
		}
		if of, n := lines[i].For, name(t); len(of) == 0 || of[len(of)-1] != n { // an order and a host's staging may both fail
			lines[i].For = append(of, n)
		}
	}
	switch {
	case len(lines) == 0:
		return nil, ""
	case len(list) == 1: // its further commands too
		whole = lines[0].Run
		for _, command := range list[0].Commands[1:] {
			lines = append(lines, Command{Run: command})
		}
		lines[0].For = nil
	case len(lines) == 1:
		whole = lines[0].Run
	default:
		var names []string
		whole, names = general(list)
		if len(lines) > maxSpelled {
			lines = []Command{{Run: whole, For: names}}
		}
	}
	for i := range lines {
		l := &lines[i]
		if len(l.For) == 1 && says(l.Run, l.For[0]) {
			l.For = nil
		}
		if l.More = max(len(l.For)-most, 0); l.More > 0 {
			l.For = slices.Clone(l.For[:most])
		}
	}
	return lines, whole
}

// general is the first command of problems of one kind with its placeholder, and
// what that stands for.
func general(list []Problem) (command string, names []string) {
	pattern := ""
	for _, p := range patterns(list[0]) { // the one that list[0].Command was made of
		if filled := run([]string{p}, list[0].key()); len(filled) == 1 {
			pattern = p
			break
		}
	}
	of := func(t Problem) string { return t.Certificate }
	if strings.Contains(pattern, "{host}") {
		of = func(t Problem) string { return t.Host }
	}
	for _, t := range list {
		if n := of(t); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return run([]string{pattern}, key{certificate: anyCertificate, host: anyHost, issuer: list[0].Issuer})[0], names
}

// says reports whether a command names what it is for as a word of its own.
func says(command, name string) bool { return slices.Contains(strings.Fields(command), name) }
