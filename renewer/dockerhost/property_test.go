package dockerhost

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"renewer/renewer"
)

// dockerdStarts tells whether dockerd would start (dockerd(8)): no directive
// both as a flag and in daemon.json, and no address bound twice.
func dockerdStarts(f Facts) error {
	var cmd string
	for _, file := range append(slices.Clone(f.Unit.Files), f.DropIn) {
		for _, e := range service(file.Text) {
			if e.name == "ExecStart" {
				cmd = e.value
			}
		}
	}
	words, _ := split(cmd)
	flags := parse(words[1:])
	for _, file := range f.Unit.EnvFiles {
		if strings.Contains(cmd, "$DOCKER_OPTS") {
			more, _ := split(variables(file.Text)["DOCKER_OPTS"])
			flags = append(flags, parse(more)...)
		}
	}
	d, err := parseDocument(f.Daemon)
	if err != nil {
		return err
	}
	var listen []string
	if _, err := d.get("hosts", &listen); err != nil {
		return err
	}
	for _, fl := range flags {
		if fl.key != "" && fl.key != "runtimes" && d.has(fl.key) {
			return fmt.Errorf("%s is in both", fl.key)
		}
	}
	listen = append(listen, addressesOf(flags)...)
	bound := map[string][]string{}
	for _, h := range listen {
		if host, port, ok := tcp(h); ok {
			bound[port] = append(bound[port], host)
		}
	}
	for port, addresses := range bound {
		if len(addresses) > 1 && slices.ContainsFunc(addresses, func(a string) bool { return isWildcard("tcp://" + a + ":1") }) {
			return fmt.Errorf("port %s is bound to %v", port, addresses)
		}
	}
	return nil
}

// listensOn is what dockerd listens on.
func listensOn(f Facts) []string {
	c, err := commandOf(f.Unit)
	if err != nil {
		panic(err)
	}
	var inFile []string
	if d, err := parseDocument(f.Daemon); err == nil {
		_, _ = d.get("hosts", &inFile)
	}
	flags := c.flags
	if f.DropIn.Exists {
		flags = oursIn(f.DropIn)
	}
	return slices.Concat(addressesOf(flags), addressesOf(c.env), inFile)
}

func anyMachine(t *rapid.T) Facts {
	address := rapid.SampledFrom([]string{
		"fd://", localSocket, "10.7.7.7:4244", "unix:///run/other.sock", "tcp://0.0.0.0:2375", "tcp://10.0.1.2:4243", "tcp://127.0.0.1:2376", "tcp://[::1]:2376", "tcp://10.0.1.2:2376", "tcp://0.0.0.0:2376",
	})
	addresses := func(label string) []string { return rapid.SliceOfNDistinct(address, 0, 3, rapid.ID).Draw(t, label) }
	f := fresh("")
	words := []string{"/usr/bin/dockerd"}
	for _, h := range addresses("unit") {
		words = append(words, rapid.SampledFrom([]string{"-H " + h, "-H=" + h, "--host " + h, `--host="` + h + `"`}).Draw(t, "form"))
	}
	more := []string{
		"--tlsverify", "--tls=true", "--tlscacert /x/ca.pem", "--live-restore", "--containerd=/run/c.sock", "-D", "--log-level warn", "--label 'a b'",
		"--unknown-switch", "--exec-opt native.cgroupdriver=systemd", "$DOCKER_OPTS",
	}
	words = append(words, rapid.SliceOfNDistinct(rapid.SampledFrom(more), 0, 4, rapid.ID).Draw(t, "flags")...)
	f.Unit.Files = []File{file(unitPath, "[Service]\nExecStart="+strings.Join(words, rapid.SampledFrom([]string{" ", " \\\n  "}).Draw(t, "between"))+"\n")}
	if rapid.Bool().Draw(t, "environment") {
		f.Unit.EnvFiles = []File{file("/etc/default/docker", "DOCKER_OPTS=\""+rapid.SampledFrom([]string{"", "--dns 8.8.8.8", "-H tcp://10.0.1.2:2376", "-H tcp://127.0.0.1:2376", "-H tcp://0.0.0.0:2376", "-H tcp://10.8.8.8:99"}).Draw(t, "opts")+"\"\n")}
	}
	daemon := map[string]any{}
	if rapid.Bool().Draw(t, "hosts in daemon.json") {
		daemon["hosts"] = addresses("daemon.json")
	}
	for _, key := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"debug", "tls", "tlsverify", "tlscacert", "live-restore", "log-driver", "labels", "x"}), rapid.ID).Draw(t, "keys") {
		daemon[key] = rapid.SampledFrom([]any{true, false, "text", []string{"a"}}).Draw(t, key)
	}
	if text, err := json.MarshalIndent(daemon, "", rapid.SampledFrom([]string{"", "  ", "\t"}).Draw(t, "indent")); err == nil && len(daemon) > 0 {
		f.Daemon = file(DaemonJSON, string(text))
	}
	f.Swarm = rapid.Bool().Draw(t, "swarm")
	f.Docker.Containers = rapid.IntRange(0, 2).Draw(t, "containers")
	return f
}

// What holds of every plan: carried out, dockerd starts and listens on the
// port and on all that it listened on; nothing of daemon.json is lost; and
// planned again there is nothing to do.
func TestEveryPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f, p := anyMachine(t), placement()
		plan, err := Plan(f, p)
		if err != nil {
			if renewer.Hint(err) == "" {
				t.Fatalf("no hint: %v", err)
			}
			return
		}
		after := done(f, plan)
		if err := dockerdStarts(after); err != nil {
			t.Fatalf("dockerd does not start: %v\n%s", err, shown(plan, nil))
		}
		pl := newPlanner(f, p)
		if err := pl.read(); err != nil {
			t.Fatal(err)
		}
		now := listensOn(after)
		if !pl.covered(now) {
			t.Fatalf("listens on %v", now)
		}
		for _, h := range listensOn(f) {
			if !slices.Contains(now, h) && !isLocalSocket(h) && !pl.samePort(h) {
				t.Fatalf("%s is lost: %v\n%s", h, now, shown(plan, nil))
			}
		}
		if before := listensOn(f); len(before) == 0 || slices.ContainsFunc(before, isLocalSocket) {
			if !slices.ContainsFunc(now, isLocalSocket) {
				t.Fatalf("the machine's own socket is lost: %v", now)
			}
		}
		kept(t, f.Daemon.Text, after.Daemon.Text, settings(p, !f.Swarm))
		again, err := Plan(after, p)
		if err != nil || !again.Empty() {
			t.Fatalf("again: %v\n%s\nfirst:\n%s", err, shown(again, nil), shown(plan, nil))
		}
		if same, _ := Plan(f, p); same.Digest != plan.Digest || plan.Digest == again.Digest && !plan.Empty() {
			t.Fatal("the digest does not tell plans apart")
		}
	})
}

type fataler interface{ Fatalf(string, ...any) }

// kept checks that text after has every key of before, as it was written and
// in the same order, but for hosts and the settings, which are there.
func kept(t fataler, before, after string, set []setting) {
	d, err := parseDocument(file(DaemonJSON, before))
	if err != nil {
		t.Fatalf("before: %v", err)
	}
	e, err := parseDocument(file(DaemonJSON, after))
	if err != nil {
		t.Fatalf("after: %v\n%s", err, after)
	}
	ours := func(key string) bool {
		return key == "hosts" || slices.ContainsFunc(set, func(s setting) bool { return s.key == key })
	}
	list := func(d document) (out []string) {
		members, _ := d.members()
		for _, m := range members {
			if !ours(m.key) {
				out = append(out, string(d[m.start:m.end]))
			}
		}
		return out
	}
	if was, is := list(d), list(e); !slices.Equal(was, is) {
		t.Fatalf("keys %q became %q", was, is)
	}
	for _, s := range set {
		var v any
		if ok, err := e.get(s.key, &v); !ok || err != nil || v != s.value {
			t.Fatalf("%s is %v (%v)\n%s", s.key, v, err, after)
		}
	}
}

func FuzzDaemonJSON(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"a":1}`, "{\n  \"a\": 1\n}\n", `{"a":{"b":[1,{"c":"}"}]},"tls":false, "tls" : null}`, `{"tls": true,}`, `[]`, `null`, "{\"\\u0074ls\": 0}",
		`{"a":"\"","hosts":["x"]}`, `{"hosts":[]}`, " { } ", "{\"é\": \"\\ud800\"}", `{"tlskey":1e400}`, "{\"hosts\": [], \"a\": 1}",
	} {
		f.Add(s)
	}
	set := settings(placement(), true)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDocument(file(DaemonJSON, text))
		if err != nil {
			if renewer.Hint(err) == "" || !strings.HasPrefix(err.Error(), DaemonJSON+":") {
				t.Errorf("error %q, hint %q", err, renewer.Hint(err))
			}
			return
		}
		e := d
		for _, s := range set {
			e = e.set(s.key, s.value)
		}
		e = e.remove("hosts")
		if e.has("hosts") {
			t.Errorf("hosts is still there: %q", e)
		}
		kept(t, text, string(e), set)
		again := e
		for _, s := range set {
			again = again.set(s.key, s.value)
		}
		if string(again.remove("hosts")) != string(e) {
			t.Errorf("not the same twice: %q, %q", e, again)
		}
	})
}

func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{debianUnit, ceUnit, "[Service]\nExecStart=/usr/bin/dockerd -H\n", "[Service]\nExecStart=/dockerd '-H x\" \\\n", "ExecStart=x\n[Service]\n#\n\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		facts := fresh(text)
		plan, err := Plan(facts, placement())
		if err != nil {
			if renewer.Hint(err) == "" {
				t.Errorf("no hint: %v", err)
			}
			return
		}
		if again, err := Plan(done(facts, plan), placement()); err != nil || !again.Empty() {
			t.Errorf("again: %v\n%s", err, shown(again, nil))
		}
	})
}
