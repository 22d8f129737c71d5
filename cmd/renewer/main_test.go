package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"renewer/renewer/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"renewer": main})
}

// TestScripts runs every script of testdata/script; each is named after the
// behaviour that it pins.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RENEWER_CONFIG", "")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else every command ends a second later under -race
			e.Setenv("FLEET", filepath.Join(e.WorkDir, "renewer.yaml"))
			e.Setenv("HTTP", freePort(t))
			return os.Chmod(e.WorkDir, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fleet": fleetFile, "exits": exits, "jsonshape": jsonShape, "waitready": waitReady, "waitfor": waitFor, "get": get, "chmode": chmode, "samejson": sameJSON, "signal": signalDaemon, "mode": mode, "glob": globbed,
		},
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fleetFile FILE puts the environment into a file of the script and leaves it
// as the fleet file: paths in it are absolute.
func fleetFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fleet FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs("renewer.yaml"), []byte(text), 0o600))
}

// exits CODE COMMAND… runs a command that has to end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	default:
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// jsonshape stdout N KEY… checks that the output is an array of N objects, each
// with at least the keys; [KEY] means that each of them has an array there.
func jsonShape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: jsonshape stdout N KEY...")
	}
	text := ts.ReadFile(args[0])
	if !strings.HasPrefix(text, "[") {
		ts.Fatalf("not an array: %s", text)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	var all []map[string]json.RawMessage
	ts.Check(dec.Decode(&all))
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		ts.Fatalf("something comes after the array")
	}
	if strconv.Itoa(len(all)) != args[1] {
		ts.Fatalf("%d objects, want %s", len(all), args[1])
	}
	for _, object := range all {
		for _, key := range args[2:] {
			name := strings.Trim(key, "[]")
			value, ok := object[name]
			if !ok || bytes.Equal(value, []byte("null")) || name != key && value[0] != '[' {
				ts.Fatalf("%s is %q", key, value)
			}
		}
	}
}

// until asks until the answer is yes, for at most a minute.
func until(ts *testscript.TestScript, what string, yes func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s: not within a minute", what)
		}
	}
}

// waitready SOCKET waits until a daemon listens there.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitready SOCKET")
	}
	until(ts, "a daemon at "+args[0], func() bool {
		_, err := server.Dial(ts.MkAbs(args[0]), nil)
		return err == nil
	})
}

// signal HUP|TERM SOCKET signals the daemon that listens there.
func signalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	sig, ok := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}[args[0]]
	if neg || len(args) != 2 || !ok {
		ts.Fatalf("usage: signal HUP|TERM SOCKET")
	}
	c, err := server.Dial(ts.MkAbs(args[1]), nil)
	ts.Check(err)
	st, err := c.Status(context.Background())
	ts.Check(err)
	ts.Check(syscall.Kill(st.Daemon.PID, sig))
}

// waitfor TEXT COMMAND… runs a command again and again until it prints the
// text. Its exit code does not matter.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor TEXT COMMAND...")
	}
	until(ts, args[0], func() bool {
		_ = ts.Exec(args[1], args[2:]...)
		return strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), args[0])
	})
}

// get URL prints the answer to a request; with ! it must not be 200.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: get URL")
	}
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	if (resp.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("%s: %s", args[0], resp.Status)
	}
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

// chmode MODE PATH changes the mode of a file or directory.
func chmode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: chmode MODE PATH")
	}
	bits, err := strconv.ParseUint(args[0], 8, 12)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(bits)))
}

// samejson FILE FILE compares two values, however they are written.
func sameJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: samejson FILE FILE")
	}
	var text [2]bytes.Buffer
	for i, file := range args {
		ts.Check(json.Compact(&text[i], []byte(ts.ReadFile(file))))
	}
	if !bytes.Equal(text[0].Bytes(), text[1].Bytes()) {
		ts.Fatalf("%s is %s\n%s is %s", args[0], &text[0], args[1], &text[1])
	}
}

// glob PATTERN DIR FILE copies the one file of a directory that matches.
func globbed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: glob PATTERN DIR FILE")
	}
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s in %s: %v", args[0], args[1], found)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(ts.ReadFile(found[0])), 0o600))
}

// mode MODE PATH… checks the modes of files, links followed.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE PATH...")
	}
	for _, path := range args[1:] {
		st, err := os.Stat(ts.MkAbs(path))
		ts.Check(err)
		if got := strconv.FormatUint(uint64(st.Mode().Perm()), 8); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", path, got, args[0])
		}
	}
}

// Every command of the contract that exists has a script of its own.
func TestEveryCommandHasAScript(t *testing.T) {
	t.Parallel()
	var all []byte
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	var names []string
	root := newRoot(&cli{}, nil)
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
		if cmd.Name() != "help" && !bytes.Contains(all, []byte("renewer "+cmd.Name())) {
			t.Errorf("no script runs renewer %s", cmd.Name())
		}
		if cmd.Short == "" {
			t.Errorf("renewer %s does not say what it is for", cmd.Name())
		}
	}
	for _, want := range strings.Fields("init check run plan list show status renew verify rollback revoke adopt history ca backup restore profiles version") {
		if !slices.Contains(names, want) {
			t.Errorf("renewer %s is missing", want)
		}
	}
}
