package dockerhost

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"renewer/renewer"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestPlans plans for the machines of testdata/plan. Each archive has the
// files of a machine; facts has what is else of it, and want what comes out:
// the diffs, the notes, or the error.
func TestPlans(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/plan/*.txtar")
	must(t, err)
	if len(archives) < 10 {
		t.Fatalf("only %d archives", len(archives))
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(name)
			must(t, err)
			f := machineOf(t, ar)
			plan, err := Plan(f, placement())
			got := shown(plan, err)
			if *update {
				ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return f.Name == "want" })
				ar.Files = append(ar.Files, txtar.File{Name: "want", Data: []byte(got)})
				must(t, os.WriteFile(name, txtar.Format(ar), 0o644))
				return
			}
			if d := cmp.Diff(part(ar, "want"), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if err != nil {
				if renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" {
					t.Errorf("class %s, hint %q", renewer.ClassOf(err), renewer.Hint(err))
				}
				return
			}
			again, err := Plan(done(f, plan), placement())
			must(t, err)
			if !again.Empty() || len(again.Notes) > 0 {
				t.Errorf("a second plan is not empty: %s", shown(again, nil))
			}
		})
	}
}

func part(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func machineOf(t *testing.T, ar *txtar.Archive) Facts {
	f := fresh("")
	f.Unit.Files = nil
	files := map[string]File{}
	for _, a := range ar.Files {
		switch {
		case a.Name == "facts" || a.Name == "want":
		case strings.HasSuffix(a.Name, ".json"):
			files[a.Name] = file(a.Name, string(a.Data))
		case strings.HasSuffix(a.Name, ".socket"):
			f.Sockets = append(f.Sockets, socketOf(path.Base(a.Name), string(a.Data))...)
		case a.Name == dropInPath:
			f.DropIn = file(a.Name, string(a.Data))
		case strings.HasPrefix(a.Name, "/etc/default/"):
			f.Unit.EnvFiles = append(f.Unit.EnvFiles, file(a.Name, string(a.Data)))
		case strings.Contains(a.Name, "/systemd/system/"):
			f.Unit.Files = append(f.Unit.Files, file(a.Name, string(a.Data)))
		default:
			t.Fatalf("what is %s?", a.Name)
		}
	}
	if f.Daemon = files[settingsOf(f.Unit)]; !f.Daemon.Exists {
		f.Daemon = File{Path: settingsOf(f.Unit)}
	}
	for _, word := range strings.Fields(part(ar, "facts")) {
		switch word {
		case "swarm":
			f.Swarm = true
		case "containers":
			f.Docker.Containers = 3
		case "live-restore":
			f.Docker.LiveRestore = true
		case "down":
			f.Unit.Active, f.Unit.Sub, f.Docker = "failed", "failed", renewer.DockerState{}
		case "stale":
			f.Unit.Stale = true
		case "listens":
			f.Listening = []string{"*:2376"}
		case "loopback":
			f.Listening = []string{"127.0.0.1:2376"}
		case "unplaced":
			f.Disk = renewer.OnDisk{}
		case "on-debian":
			f.Unit.NoProgram, f.Unit.Program = "/usr/bin/dockerd", "/usr/sbin/dockerd"
		case "link":
			f.Daemon.Link = true
		case "not-found", "masked":
			f.Unit.Load = word
		default:
			t.Fatalf("unknown fact %s", word)
		}
	}
	return f
}

func socketOf(unit, text string) (out []Socket) {
	s := Socket{Unit: unit, Active: true, Starts: []string{strings.TrimSuffix(unit, ".socket") + ".service"}}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Service":
			s.Starts = []string{value}
		case "ListenStream":
			out = append(out, Socket{Address: value})
		}
	}
	for i := range out {
		out[i].Unit, out[i].Active, out[i].Starts = s.Unit, s.Active, s.Starts
	}
	return out
}

func shown(p renewer.HostPlan, err error) string {
	var b strings.Builder
	if err != nil {
		return "error: " + err.Error() + "\nhint: " + renewer.Hint(err) + "\n"
	}
	for _, c := range p.Changes {
		b.WriteString(c.Diff)
	}
	for _, n := range p.Notes {
		b.WriteString("note: " + n + "\n")
	}
	if p.Restart {
		b.WriteString("restart\n")
	}
	if p.Empty() {
		b.WriteString("nothing to do\n")
	}
	return b.String()
}

func TestDigestIsOfTheChanges(t *testing.T) {
	t.Parallel()
	f, p := fresh(debianUnit), placement()
	first, err := Plan(f, p)
	must(t, err)
	f.Disk = renewer.OnDisk{} // not placed: another note, the same changes
	second, err := Plan(f, p)
	must(t, err)
	if first.Digest != second.Digest || first.Digest == "" {
		t.Errorf("digests %q and %q", first.Digest, second.Digest)
	}
	f.Daemon = file(DaemonJSON, `{"debug": true}`)
	third, err := Plan(f, p)
	must(t, err)
	if third.Digest == first.Digest {
		t.Error("another plan has the same digest")
	}
}

func TestPlanNeedsADockerPlacement(t *testing.T) {
	t.Parallel()
	p := placement()
	p.Probe.Kind = renewer.ProbeFile
	_, err := Plan(fresh(ceUnit), p)
	fails(t, err, "host host-b", "not the certificate of a Docker daemon")
	p = placement()
	delete(p.Files, renewer.FileCA)
	_, err = Plan(fresh(ceUnit), p)
	fails(t, err, "no file of kind ca")
}
