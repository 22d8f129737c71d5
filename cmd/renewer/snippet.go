package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"text/template"

	"renewer/renewer"
)

//go:embed snippets.tmpl
var snippetText string

var snippets = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Option("missingkey=error").Parse(snippetText))
})

// The formats of a snippet. Each but all is what a file may hold, or a command line be,
// as a whole.
const (
	allFormats = "all"
	helm       = "helm"
)

var oneFormat = []string{"yaml", "env", "flags"}

// snippet returns the lines that make a service use the files of a
// certificate, by its profile; for a profile of the user's own, or one whose
// files were changed so that the lines do not apply, the paths alone.
func snippet(d renewer.Detail, format string) (string, error) {
	name := d.Profile
	switch {
	case format == helm:
		return "", usagef("--config-snippet=helm is not supported yet")
	case slices.Contains(oneFormat, format):
		if name += "-" + format; snippets().Lookup(name) == nil {
			return "", usagef("there are no lines in the format %s for %s; --config-snippet alone prints what there is", format, cmp.Or(d.Profile, d.Name))
		}
	case format != allFormats:
		return "", usagef("unknown format %q of --config-snippet; expected all, %s", format, strings.Join(oneFormat, ", "))
	}
	if len(d.Placements) == 0 {
		return "", fmt.Errorf("%s is placed on no host", d.Name)
	}
	paths := map[string]string{}
	for kind, file := range d.Placements[0].Files {
		paths[string(kind)] = path.Join(d.Placements[0].Dir, file)
	}
	var out strings.Builder
	if t := snippets().Lookup(name); t != nil && d.Profile != "any" {
		said := maps.Clone(paths)
		said["dials"], said["name"] = "COORDINATOR:50055", "COORDINATOR"
		if len(d.Dials) > 0 {
			said["dials"] = strings.Join(d.Dials, ",")
		}
		if len(d.SANs) > 0 {
			said["name"] = d.SANs[0]
		}
		if err := t.Execute(&out, said); err == nil {
			return out.String(), nil
		}
		out.Reset()
	}
	if format != allFormats {
		return "", renewer.WithHint(fmt.Errorf("the files of %s were changed so that the lines do not apply", d.Name), "renewer show "+d.Name+" --config-snippet prints their paths")
	}
	err := snippets().ExecuteTemplate(&out, "any", paths)
	return out.String(), err
}
