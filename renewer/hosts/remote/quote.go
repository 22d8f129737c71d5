package remote

import (
	"errors"
	"fmt"
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
// byte as it is. The quote itself and the backslash, which fish takes for an
// escape there, stand outside of them behind a backslash.
func commandLine(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("run: empty command")
	}
	var line strings.Builder
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return "", fmt.Errorf("run %q: argument %d has a zero byte", argv[0], i)
		}
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteByte('\'')
		outside.WriteString(&line, word) //nolint:errcheck // a strings.Builder takes everything
		line.WriteByte('\'')
	}
	if line.Len() > lineLimit {
		return "", fmt.Errorf("run %q: %d bytes of arguments are more than a shell takes", argv[0], line.Len())
	}
	return line.String(), nil
}

var outside = strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`)
