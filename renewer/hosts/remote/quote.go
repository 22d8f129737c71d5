package remote

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// lineLimit is what one command line may be long: Linux gives a shell no
// longer argument than 128 KiB (execve(2), MAX_ARG_STRLEN).
const lineLimit = 100 << 10

// commandLine makes of an argument vector the one string that RFC 4254,
// section 6.5, lets a client send, and that the account's shell takes apart
// again. This is the only place where such a string is made.
//
// Each word is in single quotes, in which a POSIX shell (2.2.2) leaves every
// byte as it is. What other shells see in them stands outside behind a
// backslash: the quote itself, the backslash (fish) and the exclamation mark
// (csh). A line feed would end a quoted word of csh: a vector with one is
// handed to sh, which makes it of what printf(1) writes for it.
//
// In front of the command its shell prints mark, so that an answer can be distinguished
// from what the shell prints while it starts.
//
// Where directories are given, the command is run only if each of them is there, as
// far as the account may look.
func commandLine(mark string, argv []string, given ...string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("run: empty command")
	}
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return "", fmt.Errorf("run %q: argument %d contains a NUL byte", argv[0], i)
		}
	}
	line := quoted(argv)
	if strings.ContainsRune(line, '\n') {
		line = quoted([]string{"sh", "-c", `eval "$(printf %b "$1")"`, "sh", printed.Replace(quoted(argv))})
	}
	for _, dir := range given {
		if strings.ContainsAny(dir, "\x00\n") {
			return "", fmt.Errorf("run %q: cannot search for %q", argv[0], dir)
		}
		line = quoted([]string{"test", "!", "-d", path.Dir(dir), "-o", "-d", dir}) + " && " + line
	}
	if len(line) > lineLimit {
		return "", fmt.Errorf("run %q: arguments of %d bytes are too long for a shell", argv[0], len(line))
	}
	return "echo " + mark + "; " + line, nil
}

func quoted(argv []string) string {
	var line strings.Builder
	for i, word := range argv {
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteByte('\'')
		outside.WriteString(&line, word) //nolint:errcheck // a strings.Builder takes everything
		line.WriteByte('\'')
	}
	return line.String()
}

var (
	outside = strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`, `!`, `'\!'`)
	printed = strings.NewReplacer(`\`, `\\`, "\n", `\0012`) // for %b of printf(1)
)
