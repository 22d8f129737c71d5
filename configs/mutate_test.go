package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"
)

// badValues are what may stand in the place of any value of a fleet file.
var badValues = []string{"~", "''", "x y", "-1", "0 25 * * *", "1e400", "[[]]", "{x: {y: 1}}"}

// The entries of a kind have the same keys, and one bad value of a list is enough.
var (
	entry = regexp.MustCompile(`^(\.[a-z]+)\.[a-z0-9-]+(\..*|\[.*)$`)
	index = regexp.MustCompile(`\[\d+\]`)
)

// Whatever is wrong with one value of a fleet file, and whichever key is missing: loading it
// does not panic, and each fault has its place.
func TestOneBadValueAnywhereIsAFaultWithAPlace(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(readFixture(t, "testdata/later/whole.yaml")), "defaults: {", "defaults: {tolerate: 7d, window: nightly, ", 1)
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	refused, seen := 0, map[string]bool{}
	load := func(what string) {
		data, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if r := recover(); r != nil {
				t.Errorf("%s: panic: %v", what, r)
			}
		}()
		files := map[string][]byte{"f": data, "fleet.d/none.yaml": []byte("# nothing\n")}
		disk := fstest.MapFS{}
		for name, data := range files {
			disk[name] = &fstest.MapFile{Data: data}
		}
		if _, err := parse(&loader{file: "f", disk: disk, getenv: credentialsIn("/c")}, data); err != nil {
			refused++
			checkFaults(t, err, files)
		}
	}
	var walk func(path string, n *yaml.Node)
	walk = func(path string, n *yaml.Node) {
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			if n.Kind == yaml.MappingNode {
				if i%2 == 0 {
					continue // a key
				}
				at = path + "." + n.Content[i-1].Value
			}
			at = entry.ReplaceAllString(index.ReplaceAllString(at, "[]"), "$1.*$2")
			if seen[at] { // another entry has it
				walk(at, c)
				continue
			}
			seen[at] = true
			for _, bad := range badValues {
				var v yaml.Node
				if err := yaml.Unmarshal([]byte(bad), &v); err != nil {
					t.Fatal(err)
				}
				n.Content[i] = v.Content[0]
				load(at + " is " + bad)
			}
			n.Content[i] = c
			if n.Kind == yaml.MappingNode {
				all := n.Content
				n.Content = slices.Delete(slices.Clone(all), i-1, i+1)
				load("without " + at)
				n.Content = all
			}
			walk(at, c)
		}
	}
	walk("", doc.Content[0])
	if refused < 500 {
		t.Errorf("only %d of these files were refused", refused)
	}
}

// A window with a fault is known by its name, and by nothing else.
func TestFaultsOfAWindowThatIsInUse(t *testing.T) {
	t.Parallel()
	for window, want := range map[string]string{
		`{cron: "0 25 * * *", duration: 1h}`:                     `cron "0 25 * * *"`,
		`{cron: "0 3 * * *", duration: 1h, timezone: Mars/Base}`: `unknown time zone`,
		`{duration: 1h}`:                               `the window has no cron`,
		`{cron: "0 3 * * *"}`:                          `the window has no duration`,
		`{cron: "0 3 * * *", duration: 0s}`:            `duration`,
		`{cron: "0 3 * * *", duration: 1h, zone: UTC}`: `unknown key "zone"`,
		`nightly`: `a window`,
		`~`:       ``,
	} {
		for _, use := range []string{
			"certificates: [{name: a, issuer: ca, profile: files, hosts: [h], dir: /a, window: night, tolerate: 7d}]\n",
			"defaults: {window: night, tolerate: 7d}\ncertificates: [{name: a, issuer: ca, profile: files, hosts: [h], dir: /a}]\n",
		} {
			_, err := Parse("f", []byte("state_dir: /s\nissuers: {ca: {type: local}}\nhosts: {h: {type: local}}\nwindows: {night: "+window+"}\n"+use))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "unknown window") {
				t.Errorf("window %s: got %v, want a fault with %q", window, err, want)
			}
		}
	}
}
