package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// BenchmarkStart is the start of a command that does nothing else: the
// processor's time in it, and the most memory that is resident (the medians).
// It stands here because a process counts the memory of the one that started
// it: that has to be small.
func BenchmarkStart(b *testing.B) {
	program := filepath.Join(b.TempDir(), "renewer")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "renewer/cmd/renewer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var cpu, resident []float64
	for b.Loop() {
		cmd := exec.Command(program, "version")
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		p := cmd.ProcessState
		cpu = append(cpu, float64((p.UserTime()+p.SystemTime()).Microseconds())/1000)
		resident = append(resident, float64(p.SysUsage().(*syscall.Rusage).Maxrss)/1024)
	}
	for unit, values := range map[string][]float64{"cpu-ms/command": cpu, "MB-resident": resident} {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
}
