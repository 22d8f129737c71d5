package configs

import (
	"io/fs"
	"strings"
	"testing"
)

// A file of roots that cannot be used is no fault of the fleet file: it holds up the
// entries that trust it, which are named with what is wrong and the fix.
func TestUnusableFilesOfRootsAreNamedWithTheirEntries(t *testing.T) {
	t.Parallel()
	const head = "state_dir: /s\nissuers: {fleet-ca: {type: local}}\nhosts: {a: {type: local}, b: {type: local}, off: {retired: true}}\n" +
		"defaults: {issuer: fleet-ca, profile: files, hosts: [a]}\ncertificates:\n"
	l := loaderIn("testdata/bad/f.yaml", notYet, unset)
	l.reading = true // the credential's variable is not set
	fleet, err := parse(l, []byte(head+`  - {name: none, dir: /srv/1, trust: [fleet-ca, {file: /etc/none.pem}]}
  - {name: again, dir: "/srv/2/{host}", hosts: [a, b], per_host: true, trust: [{file: /etc/none.pem}, fleet-ca]}
  - {name: text, dir: /srv/3, trust: [{file: /etc/text.pem}]}
  - {name: leaf, dir: /srv/4, trust: [{file: /etc/leaf.pem}]}
  - {name: directory, dir: /srv/5, trust: [{file: /etc}]}
  - {name: damaged, dir: /srv/6, trust: [{file: /etc/damaged.pem}]}
  - {name: good, dir: /srv/7, trust: [{file: /etc/ca.pem}]}
  - {name: retired, dir: /srv/8, hosts: ["off"], trust: [{file: /etc/none-either.pem}]}
  - {name: credential, dir: /srv/9, trust: [{file: "${CREDENTIALS_DIRECTORY}/none.pem"}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/unusable-roots.txt", fleet.unusable(l.disk).Error()+"\n")
	for _, reading := range []bool{true, false} {
		fleet.reading = reading
		err := fleet.unusable(broken{l.disk, "/etc/ca.pem", fs.ErrPermission}).Error()
		if told := strings.Contains(err, "/etc/ca.pem cannot be read: permission denied"); told == reading {
			t.Errorf("reading %v: a file that may not be read: %s", reading, err)
		}
	}
}
