package configs

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

var update = flag.Bool("update", false, "write the golden files again")

// unset is an environment without CREDENTIALS_DIRECTORY.
func unset(string) (string, bool) { return "", false }

func credentialsIn(dir string) func(string) (string, bool) {
	return func(name string) (string, bool) { return dir, name == "CREDENTIALS_DIRECTORY" }
}

// loaderIn reads a fixture as if its directory were the working directory.
func loaderIn(file string, later map[string]string, getenv func(string) (string, bool)) *loader {
	return &loader{file: filepath.Base(file), disk: rooted{os.DirFS(filepath.Dir(file))}, later: later, getenv: getenv}
}

// rooted has absolute paths too, from the same directory.
type rooted struct{ fs.FS }

func (r rooted) Open(name string) (fs.File, error) { return r.FS.Open(strings.TrimPrefix(name, "/")) }

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures match %s: %v", pattern, err)
	}
	return files
}

func readFixture(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBadFilesGiveAllTheirFaults(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			fleet, err := parse(loaderIn(file, notYet, unset), readFixture(t, file))
			var faults Faults
			if fleet != nil || !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %v, %v; want no fleet, and faults", fleet, err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "correct-horse") {
				t.Errorf("a secret is shown:\n%v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// shown is what a golden file holds of a fleet.
func shown(t *testing.T, f *Fleet) string {
	t.Helper()
	if f == nil {
		t.Fatal("no fleet")
	}
	c := *f
	c.Schedule.Check, c.Schedule.Probe = nil, nil
	c.Profiles = slices.DeleteFunc(slices.Clone(c.Profiles), func(p Profile) bool { return p.Source == "built-in" })
	out, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			fleet, err := parse(loaderIn(file, notYet, credentialsIn("/run/credentials/renewer")), readFixture(t, file))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", shown(t, fleet))
		})
	}
}

// The files under later use what has no machinery yet: each use is refused
// where it stands, and nothing else is wrong with them.
func TestLaterFilesAreRefusedOnlyForWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t, "testdata/later/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, env := readFixture(t, file), credentialsIn("/run/credentials/renewer")
			_, err := parse(loaderIn(file, notYet, env), data)
			if err == nil {
				t.Fatal("loaded, and should be refused")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
			fleet, err := parse(loaderIn(file, nil, env), data)
			if err != nil {
				t.Fatalf("with everything supported: %v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", shown(t, fleet))
		})
	}
}

// whole.yaml has every key that the fleet file is said to have: each is either
// supported, or refused by its name, which the tests beside this one hold.
func TestWholeFileHasEveryKey(t *testing.T) {
	t.Parallel()
	var doc yaml.Node
	if err := yaml.Unmarshal(readFixture(t, "testdata/later/whole.yaml"), &doc); err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				has[c.Value] = true
			}
			walk(c)
		}
	}
	walk(&doc)
	for _, key := range strings.Fields(`
		include groups fleet store etcd endpoints ca_cert cert key username_file password_file prefix state_dir api socket socket_group
		http listen web_config allowed_hosts schedule check probe seal identity_file recipients defaults
		issuers type passphrase_file rotate_at standby_root ca_key url root_fingerprint provisioner rate x5c
		address namespace mount role auth method role_id_file secret_id_file wrapped token_file jwt_file rotate_secret_id issuer_ref root_file
		directory email eab kid_file hmac_file roots profile preferred_chain challenge http-01 dns-01 rfc2136 server zone tsig_file exec
		dns-persist-01 tls-alpn-01 sign revoke timeout dir
		hosts names user sudo sftp_server known_hosts_file jump root retired port kubeconfig context
		certificates name issuer per_host common_name sans default_sans usages strict rekey lifetime tolerate renew_at renew_before jitter
		files ca pkcs12 jks combined secret moved from owner group modes
		activate systemd units action signal pid_file command docker container kubernetes workloads budget
		client via tls server_name mutual grpc_health guard without_live_restore label deadline at_deadline dagu wait_idle
		peer_group trust file settle dials reloads leaf window override_before rollout canary max_parallel pause
		windows cron duration timezone watch starttls expiring notify url_file events webhook smtp`) {
		if !has[key] {
			t.Errorf("whole.yaml has no key %s", key)
		}
	}
}

func TestEveryFeatureToComeIsRefused(t *testing.T) {
	t.Parallel()
	text := string(readFixture(t, "testdata/later/whole.txt"))
	for feature := range notYet {
		if !strings.Contains(text, ": "+feature+" is not supported yet; expected ") {
			t.Errorf("%s is refused nowhere in whole.yaml", feature)
		}
	}
}

func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t, "examples/*.yaml") {
		if _, err := parse(loaderIn(file, notYet, credentialsIn("/run/credentials/renewer")), readFixture(t, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestExampleLoadsAsItIsAndWithoutItsCommentSigns(t *testing.T) {
	t.Parallel()
	dir := `/srv/a "dir" with: spaces #and <signs>`
	fleet, err := Parse("renewer.yaml", Example(dir))
	if err != nil {
		t.Fatal(err)
	}
	if fleet.StateDir != filepath.Join(dir, "state") || fleet.Socket != filepath.Join(dir, "state/renewer.sock") {
		t.Errorf("state %q, socket %q", fleet.StateDir, fleet.Socket)
	}
	if i, ok := fleet.Issuer("fleet-ca"); !ok || i.Type != "local" || i.CAKey != filepath.Join(dir, "state/issuers/fleet-ca/ca-key.pem") {
		t.Errorf("issuer: %+v", i)
	}
	if h, ok := fleet.Host("localhost"); !ok || h.Type != "local" {
		t.Errorf("host: %+v", h)
	}
	commented := regexp.MustCompile(`(?m)^( *)# ((?: |- )*[{]?[a-z_]+: )`)
	text := commented.ReplaceAllString(string(Example("/srv/renewer")), "$1$2")
	full, err := Parse("renewer.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if _, ok := full.Window("nightly"); len(full.Certificates) != 2 || !ok {
		t.Errorf("%d certificates and a window: %v; want the two examples and theirs\n%s", len(full.Certificates), ok, text)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) || renewer.Hint(err) == "" {
		t.Errorf("no file: %v, hint %q", err, renewer.Hint(err))
	}
	var faults Faults
	if _, err := Load(dir); err == nil || errors.As(err, &faults) {
		t.Errorf("a directory: %v", err)
	}
	big := write("big.yaml", "state_dir: /s\n")
	if err := os.Truncate(big, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), big+":1:1: the file is larger than 64 MiB") {
		t.Errorf("a large file: %v", err)
	}
	if f, err := Load(write("good.yaml", "state_dir: /s\n")); err != nil || f.StateDir != "/s" || f.HTTP.Listen != "127.0.0.1:9925" {
		t.Errorf("a small file: %+v, %v", f, err)
	}
}

func TestCredentialsDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "renewer.yaml")
	text := "state_dir: /s\nissuers: {a: {type: local, passphrase_file: '${CREDENTIALS_DIRECTORY}/pass'}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	passphrase := func(f *Fleet, err error) string {
		if err != nil {
			return err.Error()
		}
		return f.Issuers[0].PassphraseFile
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
	if got := passphrase(Load(path)); got != "/run/credentials/x/pass" {
		t.Errorf("set: %s", got)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if got := passphrase(Load(path)); !strings.Contains(got, "renewer.yaml:2:28: passphrase_file uses CREDENTIALS_DIRECTORY, which is not set") {
		t.Errorf("unset: %s", got)
	}
	if got := passphrase(LoadForReading(path)); got != "${CREDENTIALS_DIRECTORY}/pass" {
		t.Errorf("unset, for reading: %s", got)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	f, err := parse(loaderIn("testdata/later/whole.yaml", nil, credentialsIn("/c")), readFixture(t, "testdata/later/whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"docker"}, "docker@host-b docker@host-c"},
		{[]string{"one", "docker@host-c", "docker"}, "docker@host-b docker@host-c one"},
	} {
		got, err := f.Select(c.names...)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("Select(%v) = %v, %v; want %s", c.names, got, err, c.want)
		}
	}
	if _, err := f.Select("one", "dokcer"); err == nil || renewer.Hint(err) != `did you mean "docker"?` {
		t.Errorf("a slip: %v, hint %q", err, renewer.Hint(err))
	}
	if _, err := f.Select("docker@host-z"); err == nil || !strings.HasPrefix(renewer.Hint(err), `did you mean "docker@host-`) {
		t.Errorf("another host: %v, hint %q", err, renewer.Hint(err))
	}
	if c, ok := f.Certificate("docker@host-b"); !ok || c.Entry != "docker" {
		t.Errorf("Certificate: %+v", c)
	}
	if _, ok := f.Certificate("docker"); ok {
		t.Error("the entry's name is not a certificate's")
	}
}
