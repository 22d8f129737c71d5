// Package cleanenv makes the environment of commands that renewer runs on its
// own machine. Nothing of renewer's own is in it: no credentials, tokens,
// passphrases or sockets that its service was given, whatever they are called.
package cleanenv

import (
	"slices"
	"strings"
)

// path is used where there is none.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// kept is what programs need to find themselves: where programs and scratch
// files are, who runs them, and what time it is.
var kept = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ"}

// Of returns what is kept of an environment, with messages in English.
func Of(env []string) []string {
	out := []string{"LC_ALL=C"}
	found := false
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(kept, name) {
			out = append(out, kv)
			found = found || name == "PATH"
		}
	}
	if !found {
		out = append(out, "PATH="+path)
	}
	return out
}
