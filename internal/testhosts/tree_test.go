package testhosts

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestAnotherRecipeIsAnotherTree(t *testing.T) {
	t.Parallel()
	hash := func(files map[string]string) string {
		recipe := fstest.MapFS{}
		for name, content := range files {
			recipe[name] = &fstest.MapFile{Data: []byte(content)}
		}
		sum, err := recipeHash(recipe)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first := hash(map[string]string{"recipe/packages": "sudo\n", "recipe/customize": "true\n"})
	if again := hash(map[string]string{"recipe/packages": "sudo\n", "recipe/customize": "true\n"}); again != first {
		t.Errorf("the same recipe: got %s, then %s", first, again)
	}
	for what, files := range map[string]map[string]string{
		"another content":   {"recipe/packages": "dbus\n", "recipe/customize": "true\n"},
		"another file name": {"recipe/packages": "sudo\n", "recipe/customise": "true\n"},
		"one more file":     {"recipe/packages": "sudo\n", "recipe/customize": "true\n", "recipe/zz": ""},
		"moved content":     {"recipe/packages": "sudo\ntrue\n", "recipe/customize": ""},
	} {
		if got := hash(files); got == first {
			t.Errorf("%s: the same hash, %s", what, got)
		}
	}
}

func TestTheRecipeNamesPackages(t *testing.T) {
	t.Parallel()
	list, err := recipe.ReadFile("recipe/packages")
	if err != nil {
		t.Fatal(err)
	}
	names := packages(string(list))
	for _, want := range []string{"systemd-sysv", "openssh-server", "sudo", "docker.io", "busybox-static"} {
		if !slices.Contains(names, want) {
			t.Errorf("the hosts are built without %s: %q", want, names)
		}
	}
	if got := packages("# all of it\n\nsudo # and a comment\n  dbus\n"); !slices.Equal(got, []string{"sudo", "dbus"}) {
		t.Errorf("got %q", got)
	}
}
