package testhosts

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Leftovers lists what hosts have left behind: processes, mounts, network
// namespaces, links, cgroups. While no host runs there should be none.
func Leftovers() (found []string, err error) {
	for _, look := range []func() ([]string, error){processes, mounts, namespaces, links, groups} {
		more, failed := look()
		found, err = append(found, more...), errors.Join(err, failed)
	}
	return found, err
}

// processes are all in this process table but the tests, their PID 1, and those
// that have ended and are about to be waited for.
func processes() (found []string, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if pid := filepath.Base(dir); pid == "1" || pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		stat, gone := os.ReadFile(filepath.Join(dir, "stat"))
		// PID (NAME) STATE …, and a name may have brackets in it.
		if ended := bytes.Contains(stat, []byte(") Z ")); gone == nil && !ended {
			found = append(found, "process "+strings.TrimSpace(string(stat)))
		}
	}
	return found, err
}

func mounts() (found []string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.Contains(lines.Text(), hostsDir+"/") {
			found = append(found, "mount "+lines.Text())
		}
	}
	return found, lines.Err()
}

func namespaces() (found []string, err error) {
	names, err := filepath.Glob("/run/netns/*")
	for _, name := range names {
		found = append(found, "network namespace "+name)
	}
	return found, err
}

func links() (found []string, err error) {
	interfaces, err := net.Interfaces()
	for _, i := range interfaces {
		if i.Name != "lo" && i.Name != bridge {
			found = append(found, "link "+i.Name)
		}
	}
	return found, err
}

func groups() (found []string, err error) {
	entries, err := os.ReadDir(site.group)
	for _, entry := range entries {
		if entry.IsDir() {
			found = append(found, "cgroup "+entry.Name())
		}
	}
	return found, err
}
