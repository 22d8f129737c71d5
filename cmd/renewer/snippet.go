package main

import (
	_ "embed"
	"fmt"
	"maps"
	"path"
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

// snippet returns the lines that make a service use the files of a
// certificate, by its profile; for a profile of the user's own, or one whose
// files were changed so that the lines do not apply, the paths alone.
func snippet(d renewer.Detail) (string, error) {
	if len(d.Placements) == 0 {
		return "", fmt.Errorf("%s is placed on no host", d.Name)
	}
	paths := map[string]string{}
	for kind, file := range d.Placements[0].Files {
		paths[string(kind)] = path.Join(d.Placements[0].Dir, file)
	}
	var out strings.Builder
	if t := snippets().Lookup(d.Profile); t != nil && d.Profile != "any" {
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
	err := snippets().ExecuteTemplate(&out, "any", paths)
	return out.String(), err
}
