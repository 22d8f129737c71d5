package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, later := range []map[string]string{nil, notYet} {
			fleet, err := parse(&loader{file: "f", later: later, getenv: credentialsIn("/run/credentials")}, data)
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
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("not faults: %v", err)
			}
			lines := yamlLines(data)
			for _, fault := range faults {
				if fault.What == "" || fault.File != "f" || fault.Line < 1 || fault.Line > len(lines) || fault.Column < 1 || fault.Column > utf8.RuneCountInString(lines[fault.Line-1])+1 {
					t.Fatalf("the place of %v is outside of a file of %d lines", fault, len(lines))
				}
			}
		}
	})
}

// yamlLines splits as YAML 1.1 does, which knows more line breaks than one.
func yamlLines(data []byte) []string {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(data))
	return strings.Split(text, "\n")
}
