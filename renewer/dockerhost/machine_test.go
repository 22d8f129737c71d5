package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

var errInjected = errors.New("injected fault")

// machine is a host in memory: files, systemd and dockerd as they were seen to
// behave. It fails at its nth call: with or without the call's effect.
type machine struct {
	files map[string]memFile
	disk  renewer.OnDisk
	swarm bool

	loaded      map[string]memFile // unit files that systemd has read
	running     bool
	failed      int // starts since reset-failed
	liveRestore bool
	containers  int
	listening   []string
	deaf        bool // a reload does nothing
	refuse      bool // dockerd does not start with TLS settings, whatever they are

	tools   map[string]string // firewall programs, and what they say
	walled  bool              // the unit of the rules is active
	broken  bool              // it cannot be started
	flushed bool              // somebody took the rules away

	at     int
	effect bool // the failing call has its effect
	calls  []string
	starts int
}

type memFile struct {
	text string
	mode fs.FileMode
}

// startLimit is StartLimitBurst= of docker.service.
const burst = 3

func newMachine(unit string) *machine {
	m := &machine{
		files:   map[string]memFile{unitPath: {unit, 0o644}},
		disk:    renewer.OnDisk{Leaf: "aa", Trusts: renewer.NewRootSet("bb")},
		running: true,
	}
	m.loaded = maps.Clone(m.files)
	return m
}

func (m *machine) do(call string, effect func() error) error {
	m.calls = append(m.calls, call)
	if m.at == len(m.calls) {
		if m.effect {
			_ = effect()
		}
		return fmt.Errorf("%s: %w", call, errInjected)
	}
	return effect()
}

func (m *machine) ReadFile(_ context.Context, name string) (data []byte, mode fs.FileMode, err error) {
	err = m.do("read "+name, func() error {
		f, ok := m.files[name]
		if !ok {
			return fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
		}
		data, mode = []byte(f.text), f.mode
		return nil
	})
	return data, mode, err
}

func (m *machine) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.do("write "+name, func() error {
		m.files[name] = memFile{string(data), mode}
		return nil
	})
}

func (m *machine) Has(_ context.Context, name string) (has bool, err error) {
	err = m.do("has "+name, func() error {
		_, file := m.files[name]
		_, tool := m.tools[name]
		has = file || tool || name == "/usr/sbin/dockerd" || name == "/usr/bin/dockerd"
		return nil
	})
	return has, err
}

func (m *machine) Remove(_ context.Context, name string) error {
	return m.do("remove "+name, func() error { delete(m.files, name); return nil })
}

func (m *machine) Inspect(context.Context, renewer.Placement) (disk renewer.OnDisk, err error) {
	err = m.do("inspect", func() error { disk = m.disk; return nil })
	return disk, err
}

func (m *machine) Clock(context.Context) (now time.Time, err error) {
	err = m.do("clock", func() error { now = time.Now().Truncate(time.Second); return nil })
	return now, err
}

func (m *machine) Docker(context.Context, string) (st renewer.DockerState, err error) {
	err = m.do("docker", func() error {
		if m.running {
			st = renewer.DockerState{Running: true, LiveRestore: m.liveRestore, Containers: m.containers, Matching: m.containers}
		}
		return nil
	})
	return st, err
}

func (m *machine) Containers(context.Context, string) ([]renewer.Container, error) {
	return nil, m.do("containers", func() error { return nil })
}

func (m *machine) Room(_ context.Context, dir string) (r renewer.Room, err error) {
	return r, m.do("room "+dir, func() error { r = renewer.Room{Free: 1 << 30, Used: 1 << 30}; return nil })
}

func (m *machine) Output(ctx context.Context, argv []string) (out string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	line := strings.Join(argv, " ")
	err = m.do(line, func() error {
		switch argv[0] {
		case "ss":
			for _, a := range m.listening {
				out += "LISTEN 0 4096 " + a + " *:*\n"
			}
			return nil
		case "nft":
			if out = m.tools["/usr/sbin/nft"]; argv[2] == "ruleset" {
				out = m.ruleset()
			}
			return nil
		case "ufw":
			out = m.tools["/usr/sbin/"+argv[0]]
			return nil
		case "docker":
			if out = "WARNING: No swap limit support\nswarm: inactive\n"; m.swarm {
				out = "swarm: active\n"
			}
			return nil
		case "journalctl":
			if m.failed >= burst {
				out = "docker.service: Start request repeated too quickly.\ndocker.service: Failed with result 'exit-code'.\n"
			}
			return nil
		case "systemctl":
			if slices.Contains(argv, firewallUnit) {
				out, err = m.wall(argv[3])
				return err
			}
			out, err := m.systemctl(argv[3:])
			if err == nil && argv[3] == "show" {
				return m.show(&out)
			}
			return err
		}
		return fmt.Errorf("unknown command %s", line)
	})
	if argv[0] == "systemctl" && argv[3] == "show" && err == nil && !slices.Contains(argv, firewallUnit) {
		_ = m.show(&out)
	}
	return out, err
}

// ruleset is what the unit has given nft.
func (m *machine) ruleset() string {
	if !m.walled || m.flushed {
		return ""
	}
	out := "table inet renewer_docker {\n\tchain input {\n\t\ttype filter hook input priority filter - 10; policy accept;\n"
	for _, e := range service(m.files[firewallFile].text) {
		if _, rule, ok := strings.Cut(e.value, " add rule inet renewer_docker input "); ok {
			out += "\t\t" + strings.Replace(rule, "iif lo", `iif "lo"`, 1) + "\n"
		}
	}
	return out + "\t}\n}\n"
}

// wall is the unit of the firewall's rules.
func (m *machine) wall(verb string) (string, error) {
	_, there := m.files[firewallFile]
	switch {
	case verb == "show" && m.walled:
		return "active\n", nil
	case verb == "show":
		return "inactive\n", nil
	case verb == "disable":
		m.walled = false
		return "", nil
	case !there || m.broken:
		return "", errors.New("Job for " + firewallUnit + " failed")
	}
	m.walled, m.flushed = true, false
	return "", nil
}

func (m *machine) show(out *string) error {
	active, sub := "active", "running"
	if !m.running {
		active, sub = "failed", "failed"
	}
	result, dropIns, stale := "success", []string{}, "no"
	if m.failed > 0 && !m.running {
		result = "exit-code" // and so it stays when the start limit is hit
	}
	for _, name := range slices.Sorted(maps.Keys(m.loaded)) {
		if strings.HasSuffix(name, ".conf") {
			dropIns = append(dropIns, name)
		}
	}
	if !maps.Equal(m.loaded, m.unitFiles()) {
		stale = "yes"
	}
	*out = fmt.Sprintf("LoadState=loaded\nActiveState=%s\nSubState=%s\nResult=%s\nNRestarts=0\nNeedDaemonReload=%s\nFragmentPath=%s\nDropInPaths=%s\n",
		active, sub, result, stale, unitPath, strings.Join(dropIns, " "))
	return nil
}

func (m *machine) unitFiles() map[string]memFile {
	out := map[string]memFile{}
	for name, f := range m.files {
		if name == unitPath || strings.HasSuffix(name, ".conf") {
			out[name] = f
		}
	}
	return out
}

func (m *machine) systemctl(args []string) (string, error) {
	switch args[0] {
	case "show":
		return "", nil
	case "daemon-reload":
		m.loaded = m.unitFiles()
	case "reset-failed":
		m.failed = 0
	case "stop":
		m.running, m.listening = false, nil
		if !m.liveRestore {
			m.containers = 0
		}
	case "reload":
		if err := dockerdStarts(m.facts()); m.running && err == nil && !m.deaf {
			m.liveRestore = m.wantsLiveRestore()
		}
	case "restart":
		return "", m.start()
	default:
		return "", fmt.Errorf("unknown verb %s", args[0])
	}
	return "", nil
}

// facts are of the files that systemd and dockerd would go by.
func (m *machine) facts() Facts {
	f := Facts{Unit: Unit{Files: []File{file(unitPath, m.loaded[unitPath].text)}}, Daemon: File{Path: DaemonJSON, Text: m.files[DaemonJSON].text}}
	for _, name := range slices.Sorted(maps.Keys(m.loaded)) {
		if strings.HasSuffix(name, ".conf") && name != dropInPath {
			f.Unit.Files = append(f.Unit.Files, file(name, m.loaded[name].text))
		}
	}
	if d, ok := m.loaded[dropInPath]; ok {
		f.DropIn = file(dropInPath, d.text)
	}
	return f
}

func (m *machine) wantsLiveRestore() (on bool) {
	d, err := parseDocument(file(DaemonJSON, m.files[DaemonJSON].text))
	if err == nil {
		_, _ = d.get(liveRestoreKey, &on)
	}
	f := m.facts()
	cmd, err := commandOf(f.Unit)
	if err != nil {
		panic(err)
	}
	flags := cmd.flags
	if f.DropIn.Exists {
		flags = oursIn(f.DropIn)
	}
	return on || slices.ContainsFunc(flags, func(fl directive) bool { return fl.key == liveRestoreKey && fl.value != "false" })
}

// start is a restart: containers go on if live-restore is on before and after.
func (m *machine) start() error {
	if m.failed >= burst {
		return errors.New("start request repeated too quickly")
	}
	m.starts++
	m.failed++
	keep := !m.running || m.liveRestore
	m.running, m.listening = false, nil
	f := m.facts()
	if err := dockerdStarts(f); err != nil {
		m.failed = burst // systemd tries again until then
		if !keep {
			m.containers = 0
		}
		return fmt.Errorf("control process exited: %w", err)
	}
	var ca string
	if d, err := parseDocument(f.Daemon); err == nil {
		_, _ = d.get("tlscacert", &ca)
	}
	if ca != "" && (m.disk.Leaf == "" || m.refuse) {
		m.failed = burst
		if !keep {
			m.containers = 0
		}
		return errors.New("control process exited: could not load X509 key pair")
	}
	m.running, m.liveRestore = true, m.wantsLiveRestore()
	if !keep || !m.liveRestore {
		m.containers = 0
	}
	for _, h := range listensOn(f) {
		if _, port, ok := tcp(h); ok {
			m.listening = append(m.listening, "*:"+port)
		}
	}
	return nil
}
