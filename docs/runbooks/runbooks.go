// Package runbooks holds the pages of this directory, so that the program can
// show them where nothing else can be reached.
package runbooks

import (
	"embed"
	"slices"
	"strings"
)

//go:embed *.md
var files embed.FS

// Index is the name of the list of all pages.
const Index = "README"

// Page returns a page's Markdown by its name, with or without .md; ok is false
// if there is none.
func Page(name string) (text string, ok bool) {
	name = strings.TrimSuffix(name, ".md")
	if !slices.Contains(Names(), name) {
		return "", false
	}
	data, err := files.ReadFile(name + ".md")
	return string(data), err == nil
}

// Names returns the names of all pages, sorted.
func Names() (names []string) {
	entries, _ := files.ReadDir(".") // it is embedded
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".md"))
	}
	return names
}
