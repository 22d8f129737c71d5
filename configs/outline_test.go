package configs

import (
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
)

func TestNoFleetFileDiffersFromItself(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t, "testdata/good/*.yaml") {
		fleet, err := parse(loaderIn(file, notYet, credentialsIn("/run/credentials/renewer")), readFixture(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := renewer.Compare(fleet.Outline(), fleet.Outline()); len(diff) > 0 {
			t.Errorf("%s: %+v", filepath.Base(file), diff)
		}
		if added := renewer.Compare(nil, fleet.Outline()); len(added) != 1+len(fleet.Issuers)+len(fleet.windows)+len(fleet.Hosts)+len(fleet.Channels)+len(fleet.Certificates) {
			t.Errorf("%s: %d entries", filepath.Base(file), len(added))
		}
	}
}

func TestFleetFilesAreComparedInTheirOwnWords(t *testing.T) {
	t.Parallel()
	const file = `state_dir: /s
issuers: {ca: {type: local}, st: {type: step-ca, url: https://ca, root_fingerprint: "` +
		`0000000000000000000000000000000000000000000000000000000000000000", provisioner: p, password_file: /p}}
hosts: {a: {}, b: {user: renewer}}
windows: {nightly: {cron: "0 2 * * *", duration: 2h}}
certificates:
  - {name: web, issuer: ca, profile: files, hosts: [a, b], dir: /web, sans: [web0], activate: {systemd: {units: [web.service], action: restart}}}
  - {name: old, issuer: ca, profile: files, hosts: [a], dir: /old, key: ecdsa-p256}
  - {name: docker, issuer: ca, profile: docker-server, hosts: [a, b], per_host: true}
`
	edits := []struct{ from, to, want string }{
		{"sans: [web0]", "sans: [www.example.com]", "change certificate web: sans changed: + www.example.com - web0"},
		{"dir: /web", "dir: /srv/web", "change certificate web: dir changed from /web to /srv/web"},
		{"sans: [web0]", "sans: [web0], lifetime: 30d", "change certificate web: lifetime changed from 90d to 30d; override_before changed from 7d to 3d"},
		{"sans: [web0]", "sans: [web0], renew_before: 20d", "change certificate web: renew_at changed from 67% to none; renew_before changed from none to 20d"},
		{"sans: [web0]", `sans: [web0], modes: {key: "0440"}`, "change certificate web: modes.key changed from 0400 to 0440"},
		{"sans: [web0]", "sans: [web0], files: {key: web.key}", "change certificate web: files.key changed from tls.key to web.key"},
		{"sans: [web0]", "sans: [web0], window: nightly", "change certificate web: window changed from none to nightly"},
		{"web.service", "nginx.service", "change certificate web: activate.units changed: + nginx.service - web.service"},
		{"password_file: /p", "password_file: /q", "change issuer st: password_file changed from /p to /q"},
		{"duration: 2h", "duration: 3h, timezone: Europe/Paris", "change window nightly: duration changed from 2h to 3h; timezone changed from UTC to Europe/Paris"},
		{"user: renewer", "user: renewer, sudo: true", "change host b: sudo changed from false to true"},
		{"name: old", "name: new, moved: {from: old}", "move certificate new: renamed from old; common_name changed from old to new"},
		{"/old, key: ecdsa-p256", "/new, key: ecdsa-p384", "change certificate old: dir changed from /old to /new; key changed from ecdsa-p256 to ecdsa-p384"},
		{"hosts: [a, b], per_host", "hosts: [a], per_host", "remove certificate docker@b: "},
		{"state_dir: /s", "state_dir: /s\nfleet: prod\napi: {socket: /run/r.sock}\nhttp: {listen: \"127.0.0.1:1\"}", "change settings : api.socket changed from /s/renewer.sock to /run/r.sock; fleet changed from none to prod; http.listen changed from 127.0.0.1:9925 to 127.0.0.1:1"},
		{"sans: [web0]", "sans: [web0], tolerate: 20d", "change certificate web: tolerate changed from none to 20d"},
		{"sans: [web0]", "sans: [web0], override_before: 6d", "change certificate web: override_before changed from 7d to 6d"},
		{"sans: [web0]", "sans: [web0], rekey: false", "change certificate web: rekey changed from true to false"},
		{"state_dir: /s", "state_dir: /s\nschedule: {check: \"@every 5m\"}", "change settings : schedule.check changed from @every 10m to @every 5m"},
	}
	was, err := Parse("a.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		is, err := Parse("b.yaml", []byte(strings.Replace(file, e.from, e.to, 1)))
		if err != nil {
			t.Fatalf("%s: %v", e.to, err)
		}
		var got []string
		for _, ch := range renewer.Compare(was.Outline(), is.Outline()) {
			got = append(got, ch.Action+" "+ch.Kind+" "+ch.Name+": "+ch.Reason)
		}
		if text := strings.Join(got, "|"); text != e.want {
			t.Errorf("%s: got %q, want %q", e.to, text, e.want)
		}
	}
}
