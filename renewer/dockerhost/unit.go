package dockerhost

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"renewer/internal/pattern"
	"renewer/renewer"
)

// entry is one assignment in the [Service] section of a unit's file.
type entry struct{ name, value string }

// service returns the assignments of the [Service] section, with continued
// lines joined (systemd.syntax(7)).
func service(text string) []entry {
	var out []entry
	section, pending := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" && pending == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if before, more := strings.CutSuffix(line, `\`); more {
			pending += before + " "
			continue
		}
		line, pending = pending+line, ""
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if name, value, ok := strings.Cut(line, "="); ok && section == "[Service]" {
			out = append(out, entry{strings.TrimSpace(name), strings.TrimSpace(value)})
		}
	}
	return out
}

// command is how the unit starts dockerd without our drop-in.
type command struct {
	program word
	flags   []directive
	// env has the flags that come from variables of an environment file, and
	// envFile the file.
	env     []directive
	envFile map[string]string // by variable
	config  string            // the file that --config-file names
	late    string            // a file that sets ExecStart= and is read after our drop-in
}

// commandOf reads the unit's own command out of its files.
func commandOf(u Unit) (c command, err error) {
	c = command{envFile: map[string]string{}}
	var lines []string
	for i, f := range u.Files {
		for _, e := range service(f.Text) {
			if e.name != "ExecStart" {
				continue
			}
			if i > 0 && path.Base(f.Path) > dropInName {
				c.late = f.Path
			}
			if lines = append(lines, e.value); e.value == "" {
				lines = nil
			}
		}
	}
	if len(lines) != 1 {
		return command{}, misconfigured("a unit of Type=notify needs exactly one: run systemctl cat "+u.Name,
			"%s has %d commands in ExecStart=, expected one", u.Name, len(lines))
	}
	words, ok := split(lines[0])
	if !ok {
		return command{}, misconfigured("run systemctl cat "+u.Name, "%s has a quote in ExecStart= that is not closed: %s", u.Name, lines[0])
	}
	if err := ordinary(u, words, lines[0]); err != nil {
		return command{}, err
	}
	c.program, c.flags = words[0], parse(words[1:])
	c.env = c.expand(u)
	if c.config, err = c.settings(u); err != nil {
		return command{}, err
	}
	for _, h := range addressesOf(slices.Concat(c.flags, c.env)) {
		if h == "" {
			return command{}, misconfigured("run systemctl cat "+u.Name, "%s has -H without an address", u.Name)
		}
	}
	return c, nil
}

// ordinary refuses a unit whose dockerd is not the one that these rules are about.
func ordinary(u Unit, words []word, line string) error {
	const hint = "renewer can set up dockerd from packages of Debian, Ubuntu and Docker; configure this one by hand"
	program := ""
	if len(words) > 0 {
		program = strings.TrimPrefix(words[0].text, "-")
	}
	switch {
	case strings.Contains(path.Base(program), "rootless"):
		return misconfigured(hint, "%s starts a rootless dockerd, which reads ~/.config/docker/daemon.json of its user and listens in a separate namespace", u.Name)
	case !strings.HasPrefix(program, "/") || path.Base(program) != "dockerd":
		return misconfigured(hint, "%s does not start dockerd: %s", u.Name, line)
	}
	for _, f := range u.Files {
		for _, e := range service(f.Text) {
			elsewhere := slices.Contains([]string{"RootDirectory", "RootImage", "BindPaths", "BindReadOnlyPaths", "MountImages"}, e.name)
			if elsewhere && e.value != "" || e.name == "User" && e.value != "" && e.value != "root" && e.value != "0" {
				return misconfigured(hint, "%s has %s=%s in %s, so its dockerd may read other files than those of the host", u.Name, e.name, e.value, f.Path)
			}
		}
	}
	return nil
}

// settings is the file that dockerd reads: daemon.json, unless --config-file
// names another one (dockerd(8)).
func (c command) settings(u Unit) (string, error) {
	file := DaemonJSON
	for _, fl := range slices.Concat(c.flags, c.env) {
		if fl.key == "config-file" {
			file = fl.value
		}
	}
	if !path.IsAbs(file) || path.Clean(file) != file || strings.ContainsAny(file, "%$\\") {
		return "", misconfigured("write the file's full path there, without variables", "%s has --config-file %s: cannot tell which file dockerd reads", u.Name, file)
	}
	return file, nil
}

// settingsOf is the file that the unit's dockerd reads, as far as the unit is understood.
func settingsOf(u Unit) string {
	if c, err := commandOf(u); err == nil {
		return c.config
	}
	return DaemonJSON
}

// expand returns the flags in the values of the variables that the command
// line has (systemd.service(5): $FOO as a word of its own is split).
func (c *command) expand(u Unit) (flags []directive) {
	values := map[string]string{}
	set := func(name, value, file string) { values[name], c.envFile[name] = value, file }
	for _, f := range u.Files {
		for _, e := range service(f.Text) {
			if e.name == "Environment" {
				words, _ := split(e.value)
				for _, w := range words {
					if name, value, ok := strings.Cut(w.text, "="); ok {
						set(name, value, f.Path)
					}
				}
			}
		}
	}
	for _, f := range u.EnvFiles { // these win over Environment= (systemd.exec(5))
		for name, value := range variables(f.Text) {
			set(name, value, f.Path)
		}
	}
	for i := range c.flags {
		c.flags[i].value = braced.Regexp().ReplaceAllStringFunc(c.flags[i].value, func(v string) string { return values[v[2:len(v)-1]] })
	}
	for _, fl := range c.flags {
		for _, w := range fl.words {
			name, ok := strings.CutPrefix(w.text, "$")
			if !ok {
				continue
			}
			name = strings.Trim(name, "{}")
			words, _ := split(values[name])
			for _, found := range parse(words) {
				found.words = []word{{raw: "$" + name}}
				flags = append(flags, found)
			}
		}
	}
	return flags
}

// braced is a variable within a word.
var braced = pattern.New(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// variables reads an environment file (systemd.exec(5), EnvironmentFile=).
func variables(text string) map[string]string {
	out := map[string]string{}
	text = strings.ReplaceAll(text, "\\\n", "")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if name, value, ok := strings.Cut(line, "="); ok {
			value = strings.TrimSpace(value)
			if n := len(value); n >= 2 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
				value = value[1 : n-1]
			}
			out[strings.TrimSpace(name)] = value
		}
	}
	return out
}

// environmentFiles returns what EnvironmentFile= of the files names, without
// patterns.
func environmentFiles(files []File) (paths []string) {
	for _, f := range files {
		for _, e := range service(f.Text) {
			name := strings.TrimPrefix(e.value, "-")
			switch {
			case e.name != "EnvironmentFile":
			case e.value == "":
				paths = nil
			case path.IsAbs(name) && path.Clean(name) == name && !strings.ContainsAny(name, "*?[%"):
				paths = append(paths, name)
			}
		}
	}
	return slices.Compact(paths)
}

// addressesOf are the values of -H.
func addressesOf(flags []directive) (out []string) {
	for _, f := range flags {
		if f.key == "hosts" {
			out = append(out, f.value)
		}
	}
	return out
}

// oursIn are the flags in our drop-in as it is.
func oursIn(f File) (out []directive) {
	for _, e := range service(f.Text) {
		if words, _ := split(e.value); e.name == "ExecStart" && len(words) > 0 {
			out = parse(words[1:])
		}
	}
	return out
}

// dropIn is the text of our drop-in: the command without the flags that
// daemon.json has, listening on all of listen. What was there keeps its place.
func (c command) dropIn(settings string, listen []string, drop func(directive) bool) string {
	line := []string{c.program.raw}
	at := 1 // new addresses come after the last old one
	left := slices.Clone(listen)
	for _, f := range c.flags {
		if drop(f) {
			continue
		}
		for _, w := range f.words {
			line = append(line, w.raw)
		}
		if f.key == "hosts" {
			at = len(line)
			left = slices.DeleteFunc(left, func(h string) bool { return h == f.value })
		}
	}
	var add []string
	for _, h := range left {
		add = append(add, "-H", h)
	}
	line = slices.Insert(line, at, add...)
	return fmt.Sprintf(`# Written by renewer host setup. The addresses that dockerd listens on are here,
# its TLS settings in %s; dockerd does not start if one is in both.
[Service]
ExecStart=
ExecStart=%s
`, settings, strings.Join(line, " "))
}

func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}
