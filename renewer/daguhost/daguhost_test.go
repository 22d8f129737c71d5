package daguhost

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// machine answers from maps.
type machine struct {
	files map[string]string
	unit  string // what systemctl show prints
	deny  string // what runuser's test says no to
	noRun bool   // runuser itself fails
}

func (m machine) ReadFile(_ context.Context, path string) ([]byte, fs.FileMode, error) {
	text, ok := m.files[path]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return []byte(text), 0o644, nil
}

func (m machine) Has(_ context.Context, path string) (bool, error) {
	_, ok := m.files[path]
	return ok, nil
}

func (m machine) Output(_ context.Context, argv []string) (string, error) {
	switch argv[0] {
	case "systemctl":
		return m.unit, nil
	case "getent":
		return "dagu:x:998:998::/var/lib/dagu:/bin/sh\n", nil
	case "runuser":
		if m.noRun || argv[len(argv)-1] == m.deny {
			return "", errors.New("run runuser: exit status 1")
		}
		return "", nil
	}
	return "", errors.New("unexpected " + argv[0])
}

func shown(env, exec string) string {
	return "LoadState=loaded\nUser=dagu\nEnvironment=" + env + "\nExecStart={ path=/usr/bin/dagu ; argv[]=/usr/bin/dagu " + exec + " ; ignore_errors=no ; pid=0 }\n"
}

func worker() renewer.Placement {
	return renewer.Placement{
		Certificate: "worker@host-b", Host: "host-b", Dir: "/etc/dagu/tls",
		Files:    map[renewer.FileKind]string{renewer.FileCA: "server-ca.crt", renewer.FileCert: "worker.crt", renewer.FileKey: "worker.key"},
		Activate: renewer.Activation{Kind: renewer.ActivateSystemd, Units: []string{"dagu-worker.service"}},
	}
}

const workerEnv = "DAGU_PEER_INSECURE=false DAGU_PEER_CERT_FILE=/etc/dagu/tls/worker.crt DAGU_PEER_KEY_FILE=/etc/dagu/tls/worker.key DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/server-ca.crt"

func TestSettingsComeFromWhereDaguReadsThem(t *testing.T) {
	t.Parallel()
	m := machine{
		unit: shown(`DAGU_PEER_INSECURE=false "DAGU_PEER_CERT_FILE=/a b/env.crt" SECRET=hunter2`, "worker --peer.key-file /flag.key --peer.skip-tls-verify --worker.coordinators=dagu:50055") +
			"EnvironmentFiles=/etc/default/dagu (ignore_errors=yes)\n",
		files: map[string]string{
			"/etc/default/dagu":                      "# comment\nDAGU_PEER_CLIENT_CA_FILE=\"/env-file.crt\"\n",
			"/var/lib/dagu/.config/dagu/config.yaml": "peer:\n  insecure: true\n  key_file: /config.key\ncoordinator: {advertise: dagu.example.com}\nworker:\n  coordinators: [other:1, another:2]\nport: 8080\n",
		},
	}
	f, err := inspect(t.Context(), m, worker(), "dagu-worker.service")
	if err != nil {
		t.Fatal(err)
	}
	config, env, flag := "/var/lib/dagu/.config/dagu/config.yaml", "the environment of dagu-worker.service", "the command of dagu-worker.service"
	want := Settings{
		Insecure: Setting{"false", env}, CertFile: Setting{"/a b/env.crt", env}, KeyFile: Setting{"/flag.key", flag},
		ClientCAFile: Setting{"/env-file.crt", env}, SkipTLSVerify: Setting{"true", flag},
		Coordinators: Setting{"dagu:50055", flag}, Advertise: Setting{"dagu.example.com", config},
	}
	if f.Settings != want || f.User != "dagu" || !f.Loaded {
		t.Errorf("got %+v\nwant %+v", f.Settings, want)
	}
	m.files["/var/lib/dagu/.config/dagu/config.yaml"] = "peer: [\n"
	if _, err := inspect(t.Context(), m, worker(), "dagu-worker.service"); err == nil || !strings.Contains(err.Error(), "config.yaml") {
		t.Errorf("error %v", err)
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	ca, other := testpki.New(t), testpki.New(t)
	server := Server{
		Certificate: "coordinator", Leaf: ca.Leaf(t, testpki.Options{SANs: []string{"dagu.example.com", "10.0.1.2"}}).Cert,
		ClientRoots: []*x509.Certificate{ca.Root},
	}
	client := ca.Leaf(t, testpki.Options{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Cert
	asWorker := renewer.Certificate{Name: "worker@host-b", Entry: "worker", Issuer: "fleet-ca", Profile: "dagu-worker", Usages: []renewer.Usage{renewer.UsageClient}}
	asCoordinator := renewer.Certificate{Name: "coordinator", Entry: "coordinator", Issuer: "fleet-ca", Profile: "dagu-coordinator", Usages: []renewer.Usage{renewer.UsageServer}}
	coordinator := worker()
	coordinator.Files = map[renewer.FileKind]string{renewer.FileCA: "client-ca.crt", renewer.FileCert: "coordinator.crt", renewer.FileKey: "coordinator.key"}
	const coordinatorEnv = "DAGU_PEER_INSECURE=false DAGU_PEER_CERT_FILE=/etc/dagu/tls/coordinator.crt DAGU_PEER_KEY_FILE=/etc/dagu/tls/coordinator.key DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/client-ca.crt"
	guarded, asked, byCommand := worker(), worker(), worker()
	asked.Guard = &renewer.Guard{Dagu: &renewer.DaguGuard{By: renewer.IdleByCoordinator}}
	elsewhere := asWorker
	elsewhere.PeerGroup = "another"
	guarded.Guard = &renewer.Guard{Dagu: &renewer.DaguGuard{By: renewer.IdleByProcesses}}
	byCommand.Activate = renewer.Activation{Kind: renewer.ActivateCommand, Command: []string{"restart-dagu"}}
	const dial = "worker --worker.coordinators=dagu.example.com:50055"
	for name, c := range map[string]struct {
		cert      renewer.Certificate
		placement renewer.Placement
		leaf      *x509.Certificate
		m         machine
		check     string // that fails; empty: none does
		level     renewer.FindingLevel
		says, fix string
	}{
		"a worker as it should be":      {asWorker, worker(), client, machine{unit: shown(workerEnv, dial)}, "", "", "", ""},
		"a coordinator as it should be": {asCoordinator, coordinator, server.Leaf, machine{unit: shown(coordinatorEnv, "coordinator --coordinator.advertise=10.0.1.2")}, "", "", "", ""},
		"one file of two": {
			asCoordinator, coordinator, server.Leaf,
			machine{unit: shown("DAGU_PEER_CERT_FILE=/etc/dagu/tls/coordinator.crt", "coordinator --peer.insecure=false")},
			"dagu-tls", renewer.FindingFail, "serves plaintext: only one of peer.cert_file and peer.key_file is set", "renewer show coordinator --config-snippet",
		},
		"no file": {asCoordinator, coordinator, server.Leaf, machine{unit: shown("", "coordinator --peer.insecure=false")}, "dagu-tls", renewer.FindingFail, "neither peer.cert_file nor peer.key_file", "--config-snippet"},
		"clients without certificates": {
			asCoordinator, coordinator, server.Leaf,
			machine{unit: shown(strings.Split(coordinatorEnv, " DAGU_PEER_CLIENT_CA")[0], "coordinator")},
			"dagu-tls", renewer.FindingFail, "accepts every client", "--config-snippet",
		},
		"another file": {
			asWorker, worker(), client,
			machine{unit: shown(strings.Replace(workerEnv, "worker.crt", "old.crt", 1), dial)},
			"dagu-tls", renewer.FindingFail, "uses /etc/dagu/tls/old.crt as peer.cert_file (the environment of dagu-worker.service), but the renewed file is /etc/dagu/tls/worker.crt", "--config-snippet",
		},
		"insecure by default": {asWorker, worker(), client, machine{unit: shown(strings.TrimPrefix(workerEnv, "DAGU_PEER_INSECURE=false "), dial)}, "dagu-insecure", renewer.FindingFail, "true by default", "--config-snippet"},
		"insecure left on": {
			asWorker, worker(), client,
			machine{unit: shown(strings.Replace(workerEnv, "=false", "=true", 1), dial)},
			"dagu-insecure", renewer.FindingFail, "is on in the environment of dagu-worker.service", "false",
		},
		"the hostname is dialled": {
			asCoordinator, coordinator, server.Leaf,
			machine{unit: shown(coordinatorEnv, "coordinator"), files: map[string]string{"/etc/hostname": "dagu-1\n"}},
			"dagu-name", renewer.FindingFail, "scheduler and server dial dagu-1 (the hostname", "add dagu-1 to sans:",
		},
		"a guard that sees children alone": {
			asWorker, guarded, client, machine{unit: shown(workerEnv, dial)}, "dagu-guard", renewer.FindingWarn, "sees child processes only", "by: coordinator",
		},
		"a guard with no one to ask": {
			elsewhere, asked, client, machine{unit: shown(workerEnv, dial)}, "dagu-guard", renewer.FindingWarn, "no coordinator with a certificate", "api/v1/workers",
		},
		"activated by a command": {asWorker, byCommand, client, machine{}, "dagu-unit", renewer.FindingUnknown, "it is activated by command", "--config-snippet"},
		"skip_tls_verify": {
			asWorker, worker(), client,
			machine{unit: shown(workerEnv, dial), files: map[string]string{"/var/lib/dagu/.config/dagu/config.yaml": "peer: {skip_tls_verify: true}"}},
			"dagu-skip-verify", renewer.FindingFail, "on in /var/lib/dagu/.config/dagu/config.yaml", "peer.client_ca_file",
		},
		"a name that is not covered": {
			asWorker, worker(), client,
			machine{unit: shown(workerEnv, "worker --worker.coordinators=dagu:50055")},
			"dagu-name", renewer.FindingFail, "dagu-worker.service on host-b dials dagu (the command of dagu-worker.service), which no coordinator's certificate covers: coordinator covers dagu.example.com, 10.0.1.2", "add dagu to sans:",
		},
		"advertised, and not covered": {
			asCoordinator, coordinator, server.Leaf,
			machine{unit: shown(coordinatorEnv, "coordinator --coordinator.advertise=dagu")},
			"dagu-name", renewer.FindingFail, "clients dial dagu", "add dagu to sans: of coordinator",
		},
		"no certificate sent": {
			asWorker, worker(), client,
			machine{unit: shown("DAGU_PEER_INSECURE=false DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/server-ca.crt", dial)},
			"dagu-client-certificate", renewer.FindingFail, "sends no certificate, but coordinator requires one", "--config-snippet",
		},
		"of another CA": {
			asWorker, worker(), other.Leaf(t, testpki.Options{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Cert,
			machine{unit: shown(workerEnv, dial)},
			"dagu-client-certificate", renewer.FindingFail, "certificate required", "trust: of coordinator has to name the issuer fleet-ca",
		},
		"without the usage": {
			asWorker, worker(), ca.Leaf(t, testpki.Options{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).Cert,
			machine{unit: shown(workerEnv, dial)},
			"dagu-client-certificate", renewer.FindingFail, "does not have the usage clientAuth", "usages: [client]",
		},
		"a key that the user cannot read": {
			asWorker, worker(), client,
			machine{unit: shown(workerEnv, dial), deny: "/etc/dagu/tls/worker.key"},
			"dagu-key", renewer.FindingFail, "the user dagu of dagu-worker.service cannot read /etc/dagu/tls/worker.key", "owner: dagu",
		},
		"no one can try": {asWorker, worker(), client, machine{unit: shown(workerEnv, dial), noRun: true}, "dagu-key", renewer.FindingUnknown, "could not check", "sudo: true"},
		"no unit":        {asWorker, worker(), client, machine{unit: "LoadState=not-found\n"}, "dagu-unit", renewer.FindingFail, "there is no unit dagu-worker.service", "units:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := InspectAll(t.Context(), c.m, c.placement)
			if err != nil {
				t.Fatal(err)
			}
			found := Diagnose(Case{Certificate: c.cert, Placement: c.placement, Leaf: c.leaf, Servers: []Server{server}, Facts: all[0]})
			seen := false
			for _, x := range found {
				switch {
				case x.Check == c.check && x.Level == c.level && strings.Contains(x.Text, c.says) && strings.Contains(x.Fix, c.fix):
					seen = true
				case x.Level != renewer.FindingOK:
					t.Errorf("%+v", x)
				}
			}
			if !seen && c.check != "" || len(found) == 0 {
				t.Errorf("no %s among %+v", c.check, found)
			}
		})
	}
}

// Which file Dagu reads: the first that is there.
func TestTheConfigurationFileThatCounts(t *testing.T) {
	t.Parallel()
	all := map[string]string{}
	for _, file := range []string{"/opt/c.yaml", "/opt/flag/config.yaml", "/opt/env/config.yaml", "/var/lib/dagu/.dagu/config.yaml", "/var/lib/dagu/.config/dagu/config.yaml"} {
		all[file] = "peer: {cert_file: " + file + "}\n"
	}
	for _, tc := range []struct{ env, exec, want string }{
		{"DAGU_HOME=/opt/env", "worker --dagu-home /opt/flag --config=/opt/c.yaml", "/opt/c.yaml"},
		{"DAGU_HOME=/opt/env", "worker --dagu-home=/opt/flag", "/opt/flag/config.yaml"},
		{"DAGU_HOME=/opt/env", "worker -c /opt/c.yaml", "/opt/c.yaml"},
		{"DAGU_HOME=/opt/env", "worker", "/opt/env/config.yaml"},
		{"", "worker", "/var/lib/dagu/.dagu/config.yaml"},
	} {
		f, err := inspect(t.Context(), machine{files: all, unit: shown(tc.env, tc.exec)}, worker(), "dagu-worker.service")
		if err != nil || f.Settings.CertFile.Value != tc.want {
			t.Errorf("%+v: %+v, %v", tc, f.Settings.CertFile, err)
		}
	}
	delete(all, "/var/lib/dagu/.dagu/config.yaml")
	f, err := inspect(t.Context(), machine{files: all, unit: shown("", "worker")}, worker(), "dagu-worker.service")
	if err != nil || f.Settings.CertFile.Value != "/var/lib/dagu/.config/dagu/config.yaml" {
		t.Errorf("%+v, %v", f.Settings.CertFile, err)
	}
}

// Every unit of an entry is looked at.
func TestEveryUnitIsLookedAt(t *testing.T) {
	t.Parallel()
	p := worker()
	p.Activate.Units = []string{"dagu-scheduler.service", "dagu-server.service"}
	all, err := InspectAll(t.Context(), machine{unit: shown(workerEnv, "worker")}, p)
	if err != nil || len(all) != 2 || all[0].Unit != "dagu-scheduler.service" || all[1].Unit != "dagu-server.service" {
		t.Errorf("%+v, %v", all, err)
	}
}

// What Dagu refuses to start with is sure; what it starts with in plaintext looks odd.
func TestDoubtsOfDagu(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env       string
		sure, odd bool
		exec      string // empty: worker
		files     map[string]string
	}{
		"a coordinator with the files that are placed": {env: workerEnv, exec: "coordinator"},
		"a coordinator with a file that is not there":  {env: workerEnv, exec: "coordinator --peer.cert-file=/old.crt", sure: true},
		"a coordinator with a file that is there":      {env: workerEnv, exec: "coordinator --peer.cert-file=/old.crt", files: map[string]string{"/old.crt": ""}},
		"start-all with a file that is not there":      {env: workerEnv, exec: "start-all --peer.key-file=/old.key", sure: true},
		"a worker with a file that is not there":       {env: workerEnv, exec: "worker --peer.cert-file=/old.crt"},
		"as it should be":                              {env: workerEnv},
		"nothing set":                                  {env: ""},
		"insecure: false alone":                        {env: "DAGU_PEER_INSECURE=false", sure: true},
		"insecure: true":                               {env: "DAGU_PEER_INSECURE=true"},
		"a CA alone":                                   {env: "DAGU_PEER_INSECURE=false DAGU_PEER_CLIENT_CA_FILE=/ca"},
		"no verification at all":                       {env: "DAGU_PEER_INSECURE=false DAGU_PEER_SKIP_TLS_VERIFY=true"},
		"a certificate, no key":                        {env: "DAGU_PEER_CERT_FILE=/c", odd: true},
	} {
		f, err := inspect(t.Context(), machine{unit: shown(tc.env, cmp.Or(tc.exec, "worker")), files: tc.files}, worker(), "dagu-worker.service")
		if err != nil {
			t.Fatal(err)
		}
		var sure, odd bool
		for _, d := range f.Doubts() {
			sure, odd = sure || d.Sure, odd || !d.Sure
		}
		if sure != tc.sure || odd != tc.odd {
			t.Errorf("%s: %+v", name, f.Doubts())
		}
	}
}

// By which names coordinators know the workers of a placement.
func TestWorkerNames(t *testing.T) {
	t.Parallel()
	named := map[string]string{"/etc/hostname": "old-name\n", "/proc/sys/kernel/hostname": "host-b\n"}
	for name, tc := range map[string]struct {
		m    machine
		want string // empty: none
		fail bool
	}{
		"by its machine":                      {m: machine{unit: shown("", "worker"), files: named}, want: "host-b"},
		"by a flag":                           {m: machine{unit: shown("", "worker --worker.id=w1"), files: named}, want: "w1"},
		"by a flag that looks like a process": {m: machine{unit: shown("", "worker --worker.id=gpu@1"), files: named}, want: "gpu"},
		"by a short flag":                     {m: machine{unit: shown("", "worker -w w3"), files: named}, want: "w3"},
		"by another one":                      {m: machine{unit: shown("", "worker -w=w4"), files: named}, want: "w4"},
		"by its environment":                  {m: machine{unit: shown("DAGU_WORKER_ID=w2", "worker"), files: named}, want: "w2"},
		"a scheduler":                         {m: machine{unit: shown("", "scheduler"), files: named}},
		"a machine without a name":            {m: machine{unit: shown("", "worker")}, fail: true},
	} {
		got, err := WorkerNames(t.Context(), tc.m, worker())
		if strings.Join(got, ",") != tc.want || (err != nil) != tc.fail {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// Clients without an address dial what the coordinator advertises: its host, if nothing else.
func TestAdvertised(t *testing.T) {
	t.Parallel()
	for exec, want := range map[string]string{
		"coordinator": "host-b", "coordinator -A dagu": "dagu", "coordinator --coordinator.advertise=dagu.example.com": "dagu.example.com",
	} {
		f, err := inspect(t.Context(), machine{unit: shown("", exec), files: map[string]string{"/etc/hostname": "host-b\n"}}, worker(), "dagu-coordinator.service")
		if err != nil || f.Advertised() != want {
			t.Errorf("%s: %q, %v", exec, f.Advertised(), err)
		}
	}
}
