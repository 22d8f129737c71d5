package sudoers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"renewer/internal/sudoers"
)

func TestFile(t *testing.T) {
	t.Parallel()
	got := sudoers.File("renewer", [][]string{{"/usr/lib/openssh/sftp-server", "-u", "077"}},
		[][]string{{"systemctl", "show", "--property=A,B", "*"}, {"/bin/true"}, {"kill", "-s", "HUP", sudoers.Digit + sudoers.Digit}, {"ss", ":2376"}, {"/bin/true"}, {"/bin/grep", `a\.b`}})
	const want = `Defaults:renewer !requiretty
renewer ALL = (ALL) NOPASSWD: \
    /usr/lib/openssh/sftp-server -u 077, \
    /usr/bin/systemctl show --property\=A\,B \*, \
    /bin/true "", \
    /usr/bin/kill -s HUP [0-9][0-9], \
    /usr/bin/ss \:2376, \
    /usr/sbin/ss \:2376, \
    /bin/grep a\\\\.b, \
`
	if !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	for _, line := range []string{
		"/usr/bin/timeout -k 1.000 [0-9].[0-9][0-9][0-9] systemctl show --property\\=A\\,B \\*, \\\n",
		"/usr/bin/timeout -k 1.000 [0-9][0-9][0-9].[0-9][0-9][0-9] ss \\:2376, \\\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	visudo(t, got)
	visudo(t, sudoers.File("a,b:c#d user", [][]string{{"/x y/z", "{{.A}} !", `"#1" \ `, "=", ""}, {"/bin/two\nlines"}}, nil))
}

// visudo has sudo's own parser read a file.
func visudo(t *testing.T, text string) {
	t.Helper()
	exe, err := exec.LookPath("visudo")
	if err != nil {
		t.Log("not read by visudo, which is not installed; the e2e tests have it")
		return
	}
	file := filepath.Join(t.TempDir(), "renewer")
	if err := os.WriteFile(file, []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(exe, "-c", "-q", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
}

// Files of several accounts, and of several fleets for one account, lie beside each other on a host.
func TestFilesBesideEachOther(t *testing.T) {
	t.Parallel()
	true1, true2 := [][]string{{"/bin/true"}}, [][]string{{"/bin/true"}, {"/bin/false"}}
	visudo(t, sudoers.File("web", true1, true1)+sudoers.File("web-1", true2, true1)+sudoers.File("web_1", true1, true2)+sudoers.File("web", true2, nil))
}
