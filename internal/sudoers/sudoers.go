// Package sudoers writes what an account may run through sudo without a
// password, exactly and nothing more (sudoers(5)).
package sudoers

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Digit stands in an argument for any one digit. It is a byte that no argument
// can have.
const Digit = "\x00"

// Any stands in an argument for any text, and for further arguments. It is a
// byte that no argument has.
const Any = "\x01"

// Under is a command under timeout(1), which ends it after left, a number of seconds
// with three digits behind the point, and with all that it started a second later.
func Under(left string, argv ...string) []string {
	return append([]string{"timeout", "-k", "1.000", left}, argv...)
}

// File returns a file for /etc/sudoers.d that lets user run the commands as
// root, or as a user whose files they are about, each with these arguments alone; limited are allowed under timeout(1)
// as well, which ends what its caller gave up.
func File(user string, commands, limited [][]string) string {
	var b strings.Builder
	b.WriteString(alias("RENEWER", slices.Concat(commands, limited)))
	names := "RENEWER"
	if len(limited) > 0 {
		var under [][]string
		for _, argv := range limited {
			for digits := 1; digits <= 3; digits++ {
				under = append(under, Under(strings.Repeat(Digit, digits)+"."+strings.Repeat(Digit, 3), argv...))
			}
		}
		b.WriteString(alias("RENEWER_TIMEOUT", under))
		names += ", RENEWER_TIMEOUT"
	}
	fmt.Fprintf(&b, "%s ALL = (ALL) NOPASSWD: %s\n", name(user), names)
	return b.String()
}

func alias(called string, commands [][]string) string {
	var lines []string
	for _, argv := range commands {
		if strings.ContainsAny(strings.Join(argv, ""), "\r\n") {
			continue // sudoers has no way to say it
		}
		for _, program := range where(argv[0]) {
			if line := command(program, argv[1:]); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return "Cmnd_Alias " + called + " = \\\n    " + strings.Join(lines, ", \\\n    ") + "\n"
}

func command(program string, args []string) string {
	words := []string{name(program)}
	for _, a := range args {
		words = append(words, escape(a))
	}
	if len(args) == 0 {
		words = append(words, `""`) // else any would do
	}
	return strings.Join(words, " ")
}

// elsewhere are programs that distributions have in different places.
var elsewhere = map[string][]string{
	"ss":      {"/usr/bin/ss", "/usr/sbin/ss"},
	"docker":  {"/usr/bin/docker", "/usr/local/bin/docker"},
	"ufw":     {"/usr/sbin/ufw"},
	"nft":     {"/usr/sbin/nft"},
	"runuser": {"/usr/sbin/runuser", "/usr/bin/runuser"},
}

func where(program string) []string {
	switch {
	case path.IsAbs(program):
		return []string{program}
	case elsewhere[program] != nil:
		return elsewhere[program]
	}
	return []string{"/usr/bin/" + program}
}

// name is escape for what must be one word.
func name(s string) string { return strings.ReplaceAll(escape(s), " ", `\ `) }

// escape writes text so that sudo takes it as it is. Space is left: sudo
// compares the arguments joined by it.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == 0:
			b.WriteString("[0-9]")
			continue
		case r == 1:
			b.WriteByte('*')
			continue
		case r == '\\': // once for the file, once for the pattern
			b.WriteString(`\\\`)
		case strings.ContainsRune(`,:=*?[]!#`, r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
