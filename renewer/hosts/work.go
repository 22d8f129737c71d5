package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"renewer/renewer"
)

// Work looks at what is under way in the service that a placement activates,
// in the way that the placement's guard says.
//
//	processes  what a unit's control group, or a container, holds beside its main process
//	api        the tasks that Dagu's list of workers shows, and those processes: some
//	           steps have no process, and a scheduler runs DAGs of its own
//	command    exit status 0: idle, 1: busy
func (h *Host) Work(ctx context.Context, p renewer.Placement) (renewer.Work, error) {
	w, err := h.work(ctx, p.Activate, *p.Guard.Dagu)
	if err != nil {
		return renewer.Work{}, fmt.Errorf("host %s: check whether %s is idle: %w", h.name, p.ID(), err)
	}
	return w, nil
}

func (h *Host) work(ctx context.Context, a renewer.Activation, g renewer.DaguGuard) (w renewer.Work, err error) {
	w.Running = true
	switch a.Kind {
	case renewer.ActivateSystemd:
		w, err = h.workOfUnits(ctx, a.Units)
	case renewer.ActivateDocker:
		w, err = h.workOfContainer(ctx, a.Container)
	}
	if err != nil || !w.Running {
		return w, err
	}
	switch g.By {
	case renewer.IdleByAPI:
		var tasks int
		if tasks, err = busyWorkers(ctx, g); w.What == "" {
			w.What = "tasks of worker " + g.Worker
		} else {
			w.What = "tasks of worker " + g.Worker + " and " + w.What
		}
		w.Active += tasks
	case renewer.IdleByCommand:
		w.Active, err = h.askCommand(ctx, g.Command)
		w.What = "runs (according to " + g.Command[0] + " says)"
	}
	return w, err
}

// workOfUnits counts the processes of all units that run.
func (h *Host) workOfUnits(ctx context.Context, units []string) (renewer.Work, error) {
	w := renewer.Work{What: "child processes of " + strings.Join(units, ", ")}
	for _, unit := range units {
		if !unitName(unit) {
			return w, &renewer.Error{Class: renewer.ClassMisconfigured, Err: fmt.Errorf("%q is not the name of a unit", unit)}
		}
		// What ends or starts between two questions takes its control group away
		// while it is read, which looks like any fault of a disk: it is asked again.
		running, active, err := h.workOfUnit(ctx, unit)
		for again := 0; again < 2 && err != nil && !errors.Is(err, renewer.ErrUnreachable) && ctx.Err() == nil; again++ {
			running, active, err = h.workOfUnit(ctx, unit)
		}
		if err != nil {
			return w, fmt.Errorf("unit %s: %w", unit, err)
		}
		w.Running = w.Running || running
		w.Active += active
	}
	return w, nil
}

func (h *Host) workOfUnit(ctx context.Context, unit string) (running bool, active int, err error) {
	st, err := h.show(ctx, unit, workProps...)
	if err != nil {
		return false, 0, err
	}
	group, main := st["ControlGroup"], st["MainPID"]
	if state := st["ActiveState"]; state == "inactive" || state == "failed" || group == "" {
		return false, 0, nil
	}
	if !path.IsAbs(group) || path.Clean(group) != group || group == "/" {
		return false, 0, fmt.Errorf("systemd reports the control group %q", group)
	}
	processes, err := h.processes(ctx, group)
	if errors.Is(err, fs.ErrNotExist) && main == "0" { // between two starts
		return false, 0, nil
	}
	for _, pid := range processes {
		if pid != main {
			active++
		}
	}
	return err == nil, active, err
}

// cgroupRoots are where systemd's own hierarchy is mounted: version 2, hybrid,
// version 1 (systemd's "Control Group APIs and Delegation").
var cgroupRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// processes lists the processes of a control group and of those below it.
func (h *Host) processes(ctx context.Context, group string) ([]string, error) {
	for _, root := range cgroupRoots {
		dir, err := h.transport.OpenDir(ctx, root+group, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var found []string
		err = processesBelow(dir, ".", 0, &found)
		_ = dir.Close()
		if !errors.Is(err, fs.ErrNotExist) { // no cgroup.procs: a mount of another kind
			return found, err
		}
	}
	return nil, renewer.WithHint(fmt.Errorf("control group %s is in none of %s: %w", group, strings.Join(cgroupRoots, ", "), fs.ErrNotExist),
		"use another kind of guard: by: {api: …} or by: {command: [argv...]}")
}

const (
	procsLimit  = 1 << 20 // of one cgroup.procs
	groupsDepth = 8       // of control groups in each other
)

func processesBelow(dir Dir, name string, depth int, found *[]string) error {
	_, data, err := dir.ReadFile(path.Join(name, "cgroup.procs"), procsLimit)
	if err != nil {
		return err
	}
	*found = append(*found, strings.Fields(string(data))...)
	names, err := dir.ReadDir(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		sub := path.Join(name, n)
		if strings.Contains(n, ".") && !strings.HasSuffix(n, ".service") && !strings.HasSuffix(n, ".scope") && !strings.HasSuffix(n, ".slice") {
			continue // a file of the kernel's, such as memory.max
		}
		info, err := dir.Lstat(sub)
		if err != nil || !info.Mode.IsDir() {
			continue // it went away meanwhile
		}
		if depth == groupsDepth {
			return fmt.Errorf("control groups are nested deeper than %d", groupsDepth)
		}
		if err := processesBelow(dir, sub, depth+1, found); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// workOfContainer counts the processes of a container beside the first, and
// beside Docker's own init where it has one (docker run --init).
func (h *Host) workOfContainer(ctx context.Context, name string) (renewer.Work, error) {
	w := renewer.Work{What: "child processes of container " + name}
	if stopped, _ := h.dockerStopped(ctx); stopped {
		return w, nil
	}
	api := h.dockerAPI()
	defer api.close()
	got, err := api.inspect(ctx, name)
	switch {
	case refusedWith(err, http.StatusNotFound), errors.Is(err, errNoDaemon):
		return w, nil // activating says so
	case err != nil:
		return w, fmt.Errorf("inspect container %s: %w", name, err)
	case got.State == nil || !got.State.Running || got.State.Paused:
		return w, nil
	}
	top, err := api.top(ctx, got.ID)
	if err != nil {
		return w, fmt.Errorf("list the processes of container %s: %w", name, err)
	}
	own := 1
	if c := got.HostConfig; c != nil && c.Init != nil && *c.Init {
		own = 2
	}
	w.Running, w.Active = true, max(0, len(top)-own)
	return w, nil
}

// askCommand runs a command that says whether the service is idle.
func (h *Host) askCommand(ctx context.Context, argv []string) (active int, err error) {
	_, err = h.output(ctx, argv)
	if exitStatus(err) == 1 {
		return 1, nil
	}
	return 0, err
}

// exitStatus is that of a command that ran and failed, as os/exec and the SSH
// library tell it; else -1.
func exitStatus(err error) int {
	var here interface{ ExitCode() int }
	var there interface{ ExitStatus() int }
	switch {
	case errors.As(err, &here):
		return here.ExitCode()
	case errors.As(err, &there):
		return there.ExitStatus()
	}
	return -1
}
