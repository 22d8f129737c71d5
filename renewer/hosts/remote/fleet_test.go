package remote

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// fleetHost is a real sshd that is 20 ms away.
type fleetHost struct {
	cfg Config
	far Config
	dir string
}

// BenchmarkHosts50 renews on 50 real sshds that are 20 ms away, and does the same with
// the tools that one would take: rsync and scp + ssh, 16 hosts at a time, and Ansible
// if it is installed. What sshd
// takes for a renewal is compared with what it takes for a bare handshake.
func BenchmarkHosts50(b *testing.B) {
	const many, atOnce, away = 50, 16, 20 * time.Millisecond
	if os.Getenv("RENEWER_BENCH_HOSTS") == "" {
		b.Skip("make bench-hosts does it")
	}
	var spent sshdCPU
	ca, cl := testpki.New(b), client(b)
	pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
	content, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
	must(b, err)
	files := b.TempDir()
	for kind, data := range content {
		must(b, os.WriteFile(filepath.Join(files, benchFiles[kind]), data, 0o400))
	}
	var fleet []fleetHost
	for range many {
		cfg := sshdCounted(b, &spent)
		h := fleetHost{cfg: cfg, far: farConfig(b, cfg, away), dir: shortDir(b)}
		p := benchPlacement
		p.Dir = h.dir
		prepare(b, cl.Transport(cfg), p, content)
		fleet = append(fleet, h)
	}
	each := func(limit int, do func(h fleetHost)) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		free := make(chan struct{}, limit)
		for _, h := range fleet {
			free <- struct{}{}
			all.Go(func() { defer func() { <-free }(); do(h) })
		}
		all.Wait()
		return time.Since(start)
	}
	run := func(h fleetHost, argv ...string) {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			b.Errorf("%v: %v: %s", argv, err, out)
		}
	}
	tools := map[string]func(h fleetHost){
		"rsync": func(h fleetHost) {
			run(h, "rsync", "-a", "-e", "ssh "+options(h.far), files+"/", h.far.User+"@127.0.0.1:"+h.dir+"/plain/")
		},
		"ansible": func(h fleetHost) {
			run(h, "ansible", "all", "-i", "127.0.0.1,", "-u", h.far.User, "--ssh-common-args", options(h.far),
				"-m", "copy", "-a", "src="+files+"/ dest="+h.dir+"/plain/")
		},
		"scp+ssh": func(h fleetHost) { // as the guide of Docker has it
			names, _ := filepath.Glob(files + "/*")
			run(h, "sh", "-c", fmt.Sprintf("scp -q %s %s %s@127.0.0.1:%s/ && ssh %s %s@127.0.0.1 'chmod 0400 %s/key.pem'",
				options(h.far), fmt.Sprint(names)[1:len(fmt.Sprint(names))-1], h.far.User, h.dir, options(h.far), h.far.User, h.dir))
		},
	}
	for name, program := range map[string]string{"rsync": "rsync", "scp+ssh": "scp", "ansible": "ansible"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("note: %s is not installed: nothing is compared with it\n", name)
			delete(tools, name)
		}
	}
	took := map[string]time.Duration{}
	var bare, placed time.Duration
	n := 0
	for b.Loop() {
		n++
		next := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
		content, err := pki.Content(benchFiles, renewer.Chain{Leaf: next.Cert}, next.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		bare += spent.of(func() { each(many, func(h fleetHost) { bareHandshake(b, h.cfg) }) })
		placed += spent.of(func() {
			took["renewer"] += each(many, func(h fleetHost) {
				p := benchPlacement
				p.Dir = h.dir
				renewal{cl, p, content}.steps(b, h.far, func(string, time.Duration) {})
			})
		})
		for name, do := range tools {
			took[name] += each(atOnce, do)
		}
	}
	for name, d := range took {
		b.ReportMetric(float64(many*n)/d.Seconds(), name+"-hosts/s")
	}
	if d := took["rsync"]; d > 0 {
		b.ReportMetric(float64(took["renewer"])/float64(d), "of-rsync")
	}
	b.ReportMetric(float64(placed)/float64(bare), "sshd-x-floor")
	b.ReportMetric(float64(placed.Microseconds())/float64(many*n), "sshd-cpu-µs/host")
}

// options are those of ssh(1) that reach a host.
func options(c Config) string {
	return fmt.Sprintf("-F none -o IdentitiesOnly=yes -o BatchMode=yes -o Port=%d -i %s -o UserKnownHostsFile=%s", c.Port, c.IdentityFile, c.KnownHostsFile)
}

// farConfig reaches a host over a distance.
func farConfig(b testing.TB, cfg Config, away time.Duration) Config {
	b.Helper()
	f := farAway(b, net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)), away)
	return f.config(b, cfg)
}

// sshdCPU adds up what servers took that have ended.
type sshdCPU struct {
	mu      sync.Mutex
	whole   time.Duration
	running sync.WaitGroup
}

func (s *sshdCPU) ended(cmd *exec.Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// of is what the servers of do took, which end with it.
func (s *sshdCPU) of(do func()) time.Duration {
	s.running.Wait()
	before := s.whole
	do()
	s.running.Wait()
	return s.whole - before
}
