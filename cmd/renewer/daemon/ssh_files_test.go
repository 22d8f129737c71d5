package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

// A line of known_hosts that is skipped is a finding of the doctor, once for all hosts that have the file.
func TestDoctorListsWhatOfTheSSHFilesIsSkipped(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	known := filepath.Join(home, "known_hosts")
	if err := os.WriteFile(known, []byte("# kept by hand\nhalf.example ssh-ed25519\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := remote.NewClient(remote.Options{Home: home})
	p := &parts{transports: map[string]hosts.Transport{"here": hosts.Local("")}}
	for _, name := range []string{"web2", "web1"} {
		tr := client.Transport(remote.Config{Name: name, KnownHostsFile: known})
		t.Cleanup(func() { _ = tr.Close() })
		p.transports[name] = rights{Transport: tr, host: name}
	}
	for host, want := range map[string]string{"": "web1", "web1": "web1", "web2": "web2", "here": ""} {
		found := p.sshFindings(host)
		if want == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || found[0].Host != want || found[0].Level != renewer.FindingWarn || found[0].Fix == "" ||
			found[0].Text != known+":2 is ignored: it cannot be parsed (it has no complete key)" {
			t.Errorf("%q: %+v", host, found)
		}
	}
}
