package configs

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// FuzzParse: no input makes the loader panic, every error is Faults, and
// every fault has a place inside the file and something to say. It is tried
// with everything supported, so that all of the schema is walked.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml", "testdata/later/*.yaml", "examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for _, window := range []string{`{cron: "0 25 * * *", duration: 1h}`, `{cron: "0 3 * * *", duration: 1h, timezone: X}`, `{duration: 1h}`, `{cron: "0 3 * * 1", duration: 1h}`} {
		f.Add([]byte("state_dir: /s\nissuers: {ca: {type: local}}\nhosts: {h: {type: local}}\nwindows: {night: " + window + "}\ndefaults: {issuer: ca, profile: files, hosts: [h]}\n" +
			"certificates: [{name: a, dir: /a, window: night, tolerate: 7d}]\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, later := range []map[string]string{nil, notYet} {
			l := &loader{file: "f", disk: fstest.MapFS{}, later: later, getenv: credentialsIn("/run/credentials")}
			fleet, err := parse(l, data)
			if (fleet == nil) == (err == nil) {
				t.Fatalf("fleet %v, error %v", fleet, err)
			}
			if err == nil {
				for _, c := range fleet.Certificates {
					if c.Name == "" || c.Issuer == "" || len(c.Placements) == 0 || c.Lifetime < leastLifetime || len(c.CommonName) > 4*longestCommonName {
						t.Fatalf("certificate %+v", c)
					}
				}
				continue
			}
			checkFaults(t, err, map[string][]byte{"f": data})
		}
	})
}

// FuzzInclude: whatever stands in a fleet file and in what it includes, each
// fault has its place in one of them, what is loaded is the same each time, and
// no certificate is on a host twice.
func FuzzInclude(f *testing.F) {
	f.Add([]byte("include: [d/*.yaml]\nstate_dir: /s\ngroups: {g: ['h*', '@i']}\n"), []byte("hosts: {h1: {}, h2: {}}\n"),
		[]byte("issuers: {ca: {type: local}}\ngroups: {i: [h1]}\ncertificates: [{name: c, issuer: ca, profile: docker-server, hosts: ['@g'], per_host: true}]\n"))
	for _, name := range []string{"include", "include-paths", "host-groups"} {
		data, err := os.ReadFile("testdata/bad/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte("hosts: {h: {}}\n"), []byte("hosts: {h: {}}\ngroups: {h: [h], g: ['@g']}\n"))
	}
	f.Fuzz(func(t *testing.T, data, one, two []byte) {
		files := map[string][]byte{"f": data, "d/1.yaml": one, "d/2.yaml": two}
		disk := fstest.MapFS{}
		for name, text := range files {
			disk[name] = &fstest.MapFile{Data: text}
		}
		fleet, err := parse(&loader{file: "f", disk: disk, getenv: unset}, data)
		if err != nil {
			checkFaults(t, err, files)
			return
		}
		seen := map[string]bool{}
		for _, h := range fleet.Hosts {
			if seen[h.Name] {
				t.Fatalf("host %s stands twice", h.Name)
			}
			seen[h.Name] = true
		}
		for _, c := range fleet.Certificates {
			on := map[string]bool{}
			for _, p := range c.Placements {
				if on[p.Host] || !seen[p.Host] {
					t.Fatalf("%s is twice, or nowhere, on %s", c.Name, p.Host)
				}
				on[p.Host] = true
			}
		}
		again, err := parse(&loader{file: "f", disk: disk, getenv: unset}, data)
		if err != nil || !reflect.DeepEqual(fleet.Certificates, again.Certificates) {
			t.Fatalf("another result: %v", err)
		}
	})
}

// checkFaults holds faults to having something to say and a place in a file.
func checkFaults(t *testing.T, err error, files map[string][]byte) {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("not faults: %v", err)
	}
	for _, fault := range faults {
		data, ok := files[fault.File]
		lines := yamlLines(data)
		if fault.What == "" || !ok || fault.Line < 1 || fault.Line > len(lines) || fault.Column < 1 || fault.Column > utf8.RuneCountInString(lines[fault.Line-1])+1 {
			t.Fatalf("the place of %v is outside of a file of %d lines", fault, len(lines))
		}
	}
}

// yamlLines splits as YAML 1.1 does, which knows more line breaks than one.
func yamlLines(data []byte) []string {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(data))
	return strings.Split(text, "\n")
}
