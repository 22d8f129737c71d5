package remote

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // a token of ssh_config(5)
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directive is a line of ssh_config(5).
type directive struct {
	key  string // in lower case
	args []string
	rest string // behind the key, as written
	at   string // file:line
}

// Bounds of an ssh_config with all that it includes.
const (
	includesDeep = 16
	directives   = 100_000
)

// readSSHConfig reads a file and what it includes.
func (c *Client) readSSHConfig(file string) ([]directive, error) {
	var out []directive
	err := c.include(file, filepath.Dir(file), 0, &out)
	return out, err
}

// include reads a file; what it includes by a relative name lies in dir.
func (c *Client) include(file, dir string, depth int, out *[]directive) error {
	if depth > includesDeep {
		return fmt.Errorf("%s is included too deeply; does it include itself?", file)
	}
	data, err := readFile(file)
	if err != nil {
		return err
	}
	for n, text := range bytes.Split(data, []byte("\n")) {
		d, ok := parseDirective(string(text))
		d.at = fmt.Sprintf("%s:%d", file, n+1)
		if !ok {
			continue
		}
		if len(*out) == directives {
			return fmt.Errorf("more than %d lines", directives)
		}
		if d.key != "include" {
			*out = append(*out, d)
			continue
		}
		// What is included may begin blocks of its own, and those end with it.
		*out = append(*out, directive{key: blockBegins})
		for _, pattern := range d.args {
			pattern = c.homed(pattern)
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(dir, pattern)
			}
			found, _ := filepath.Glob(pattern) // a pattern that is none matches nothing, as in ssh(1)
			for _, f := range found {
				if err := c.include(f, dir, depth+1, out); err != nil && !os.IsPermission(err) {
					return err
				}
				*out = append(*out, directive{key: blockAgain})
			}
		}
		*out = append(*out, directive{key: blockEnds})
	}
	return nil
}

// Made-up directives around what is included.
const (
	blockBegins = "(include"
	blockAgain  = "(again"
	blockEnds   = "include)"
)

// parseDirective takes a line apart: a key, perhaps an equals sign, and words
// that may stand in double quotes.
func parseDirective(line string) (d directive, ok bool) {
	const space = " \t\r\f"
	line = strings.Trim(line, space)
	if line == "" || line[0] == '#' {
		return d, false
	}
	end := strings.IndexAny(line, space+"=")
	if end < 0 {
		end = len(line)
	}
	d.key = strings.ToLower(line[:end])
	d.rest = strings.TrimLeft(line[end:], space)
	d.rest = strings.TrimLeft(strings.TrimPrefix(d.rest, "="), space)
	d.args = splitWords(d.rest)
	return d, true
}

// splitWords takes words apart up to a comment. Parts of a word may stand in quotes of
// either kind; a backslash takes the meaning from a quote, a space and a backslash.
func splitWords(text string) (out []string) {
	var word strings.Builder
	begun, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (strings.IndexByte(`'"\`, text[i+1]) >= 0 || quote == 0 && text[i+1] == ' '):
			i++
			word.WriteByte(text[i])
			begun = true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		case quote == 0 && !begun && c == '#':
			return out
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote != 0 && c == quote:
			quote = 0
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		out = append(out, word.String())
	}
	return out
}

// settings are what ssh_config(5) says for one host. Of each key the first
// value counts; of those that may stand several times, all.
type settings struct {
	c      *Client
	alias  string // as it was asked for
	named  string // what Host is about: the alias, in the second pass the name that it stands for
	fixed  string // what HostName has said when the second pass begins
	user   string // of the fleet file, if it has one
	values map[string][]directive
	final  bool // the second pass, for Match final
	again  bool // there has to be one
	jumps  bool // the fleet file names a host to jump over
	undone []string
}

// severally are the keys of which every value counts.
var severally = []string{"identityfile", "certificatefile"}

func (s *settings) first(key string) string {
	if all := s.values[key]; len(all) > 0 && len(all[0].args) > 0 {
		return all[0].args[0]
	}
	return ""
}

// all are the words behind a key.
func (s *settings) all(key string) []string {
	if all := s.values[key]; len(all) > 0 {
		return all[0].args
	}
	return nil
}

// indirect: something is between here and the host.
func (s *settings) indirect() bool {
	proxy := s.values["proxy"]
	return s.jumps || len(proxy) > 0 && !strings.EqualFold(proxy[0].rest, "none")
}

// read goes over files, the user's before the machine's, and once more for
// Match final and for a name that was made canonical.
func (s *settings) read(files ...[]directive) error {
	s.named = s.alias
	for _, file := range files {
		s.pass(file)
	}
	name, canonical, err := s.canonical()
	if err != nil || !s.again && !canonical {
		return err
	}
	s.final, s.fixed = true, strings.ToLower(name)
	s.named = s.fixed
	for _, file := range files {
		s.pass(file)
	}
	return nil
}

func (s *settings) pass(file []directive) {
	holds, outer := true, []bool(nil)
	for _, d := range file {
		switch d.key {
		case blockBegins:
			outer = append(outer, holds)
		case blockAgain:
			holds = outer[len(outer)-1]
		case blockEnds:
			holds, outer = outer[len(outer)-1], outer[:len(outer)-1]
		case "host":
			holds = within(outer) && matches(d.args, s.named)
		case "match":
			holds = within(outer) && s.match(d)
		default:
			if holds {
				s.set(d)
			}
		}
	}
}

func within(outer []bool) bool { return len(outer) == 0 || outer[len(outer)-1] }

func (s *settings) set(d directive) {
	key := d.key
	if key == "proxyjump" { // the first counts, and none leaves it to ProxyCommand
		first := len(s.values[key]) == 0
		s.values[key] = append(s.values[key], d)
		if !first || strings.EqualFold(d.rest, "none") {
			return
		}
		key = "proxy"
	}
	if key == "proxycommand" { // the first of both counts
		key = "proxy"
	}
	have := s.values[key]
	several := slices.Contains(severally, key)
	if len(have) > 0 && !several || slices.ContainsFunc(have, func(h directive) bool { return h.at == d.at }) {
		return
	}
	s.values[key] = append(have, d)
}

// match: ssh_config(5), Match. All criteria have to hold.
func (s *settings) match(d directive) bool {
	for args := d.args; len(args) > 0; {
		name, not := strings.CutPrefix(strings.ToLower(args[0]), "!")
		name, value, given := strings.Cut(name, "=") // Match user=x
		args = args[1:]
		var holds bool
		switch name {
		case "all":
			holds = true
		case "final", "canonical":
			s.again = s.again || name == "final"
			holds = s.final
		case "host", "originalhost", "user", "localuser", "exec":
			if !given {
				if len(args) == 0 {
					s.notDone("Match without a value", d.at)
					return false
				}
				value, args = args[0], args[1:]
			}
			holds = s.criterion(name, value)
		default:
			s.notDone("Match "+name, d.at)
			return false
		}
		if holds == not {
			return false
		}
	}
	return true
}

func (s *settings) criterion(name, value string) bool {
	is := s.alias
	list := strings.Split(value, ",")
	switch name {
	case "host":
		is = s.host()
	case "user":
		return matches(list, firstOf(s.user, s.first("user"), s.c.account))
	case "localuser":
		return matches(list, s.c.account)
	case "exec":
		return s.c.exits(s.expand(value))
	}
	return matchList(list, is)
}

// host is what HostName says, so far.
func (s *settings) host() string {
	if s.fixed != "" {
		return s.fixed
	}
	if name := s.first("hostname"); name != "" {
		return strings.NewReplacer("%%", "%", "%h", s.alias).Replace(name)
	}
	return s.alias
}

// keyAlias is the name of the host in known_hosts, if it has one of its own.
func (s *settings) keyAlias() string { return strings.ToLower(s.first("hostkeyalias")) }

// expand replaces the tokens of ssh_config(5), by what is known so far.
func (s *settings) expand(text string) string {
	return s.tokens(target{
		host: s.host(), port: firstOf(s.first("port"), "22"), user: firstOf(s.user, s.first("user"), s.c.account), alias: firstOf(s.keyAlias(), s.host()),
	}).Replace(text)
}

func (s *settings) tokens(t target) *strings.Replacer {
	return strings.NewReplacer(s.tokenPairs(t)...)
}

func (s *settings) tokenPairs(t target) []string {
	here, _ := os.Hostname() // where it has none, the token is empty
	short, _, _ := strings.Cut(here, ".")
	jump := ""
	if proxy := s.values["proxy"]; len(proxy) > 0 && proxy[0].key == "proxyjump" {
		jump = proxy[0].rest
	}
	sum := sha1.Sum([]byte(here + t.host + t.port + t.user + jump)) //nolint:gosec // so ssh_config(5) has it
	return []string{
		"%%", "%", "%C", hex.EncodeToString(sum[:]), "%d", s.c.Home, "%h", t.host, "%i", strconv.Itoa(os.Getuid()), "%j", jump,
		"%k", firstOf(t.alias, s.alias), "%L", short, "%l", here, "%n", s.alias, "%p", t.port, "%r", t.user, "%u", s.c.account,
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// exits reports whether a command of Match exec ends well.
func (c *Client) exits(command string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), matchTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env, cmd.WaitDelay = c.environment(), time.Second
	return cmd.Run() == nil
}

// matchTimeout is what a command of Match exec may take.
const matchTimeout = 5 * time.Second
