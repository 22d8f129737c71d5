package remote

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// unsetError: a value of ssh_config(5) has a variable that the environment does not.
type unsetError struct{ value, variable string }

func (e *unsetError) Error() string {
	return fmt.Sprintf("%s: the environment variable %s is not set for renewer", e.value, e.variable)
}

// filled replaces a tilde, the tokens and ${VARIABLES} in a value of ssh_config(5), in one
// pass: what was put in is not looked at again.
func (c *Client) filled(value string, in *strings.Replacer) (string, error) {
	var out strings.Builder
	for rest := c.homed(value); ; {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(in.Replace(before))
		if !found {
			return out.String(), nil
		}
		name, behind, closed := strings.Cut(after, "}")
		text, set := c.variable(name)
		if !closed || !set {
			return "", &unsetError{value, name}
		}
		out.WriteString(text)
		rest = behind
	}
}

func (c *Client) variable(name string) (string, bool) {
	if name == "HOME" { // which a service may be without
		return c.Home, true
	}
	return os.LookupEnv(name)
}

// homed replaces ~ and ~USER.
func (c *Client) homed(name string) string {
	if !strings.HasPrefix(name, "~") {
		return name
	}
	of, rest, _ := strings.Cut(name[1:], "/")
	if of == "" {
		return filepath.Join(c.Home, rest)
	}
	if u, err := user.Lookup(of); err == nil {
		return filepath.Join(u.HomeDir, rest)
	}
	return name
}
