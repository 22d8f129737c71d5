package configs

import (
	"strings"
	"testing"

	"renewer/internal/near"

	"go.yaml.in/yaml/v3"
)

func TestBuiltinProfiles(t *testing.T) {
	t.Parallel()
	text, err := yaml.Marshal(BuiltinProfiles())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/profiles.yaml", string(text))
}

// A caller that changes what it was given does not change the profiles.
func TestBuiltinProfilesAreCopies(t *testing.T) {
	t.Parallel()
	p := BuiltinProfiles()
	p[0].Name = "changed"
	if got := BuiltinProfiles()[0].Name; got == "changed" {
		t.Error("the profiles themselves were changed")
	}
}

func TestSuggestion(t *testing.T) {
	t.Parallel()
	keys := certificateSchema.keys()
	for word, want := range map[string]string{
		"lifetme": "lifetime", "Lifetime": "lifetime", "renew-at": "renew_at", "host": "hosts", "activat": "activate", "isseur": "issuer",
		"passphrase": "", "x": "", "": "",
	} {
		if got, _ := near.Word(word, keys); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
	if got := oneOf(strings.Split(strings.Repeat("x ", 100), " ")); got != "one of , x" {
		t.Errorf("oneOf repeats: %q", got)
	}
}
