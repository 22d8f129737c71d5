package remote

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"renewer/internal/testssh"
	"renewer/renewer/hosts"
)

// No variable of the account changes what docker is asked, neither in a command
// nor in a connection.
func TestDockerIsAskedWithoutTheVariablesOfAnAccount(t *testing.T) {
	for _, name := range hosts.DockerVariables {
		t.Setenv(name, "1")
	}
	s, tr := host(t, testssh.Options{})
	script := "#!/bin/sh\nif env | grep '^DOCKER_'; then exit 1; fi\necho asked \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(s.Bin, "docker"), []byte(script), 0o700))
	out, err := tr.Run(t.Context(), []string{"docker", "-H", "unix:///var/run/docker.sock", "ps"})
	must(t, err)
	equal(t, "command", string(out), "asked -H unix:///var/run/docker.sock ps\n")
	c, err := tr.DialDocker(t.Context(), "/var/run/docker.sock")
	must(t, err)
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	must(t, err)
	equal(t, "connection", line, "asked -H unix:///var/run/docker.sock system dial-stdio\n")
	out, err = tr.Run(t.Context(), []string{"docker", "compose", "restart"}) // of an entry: it has what it is written for
	if err == nil || !strings.Contains(string(out), "DOCKER_HOST=1") {
		t.Errorf("an entry's own command: %q, %v", out, err)
	}
}

// Only docker saying that it could not connect means that the daemon does not run.
func TestWhatDockerSaysIsNotGuessedAt(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	for said, want := range map[string]error{
		"failed to open the raw stream connection: dial unix /var/run/docker.sock: connect: no such file or directory":  syscall.ECONNREFUSED,
		"failed to open the raw stream connection: dial unix /var/run/docker.sock: connect: connection refused":         syscall.ECONNREFUSED,
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?":             syscall.ECONNREFUSED,
		"dial unix /var/run/docker.sock: connect: permission denied":                                                    fs.ErrPermission,
		"Failed to initialize: unable to resolve docker endpoint: open /root/.docker/ca.pem: no such file or directory": nil,
		"docker: /lib/libc.so.6: no such file or directory":                                                             nil,
		"Error loading config file: /root/.docker/config.json: permission denied":                                       nil,
		"proxyconnect tcp: dial tcp 127.0.0.1:1: connection refused":                                                    nil,
	} {
		must(t, os.WriteFile(filepath.Join(s.Bin, "docker"), []byte("#!/bin/sh\necho '"+said+"' >&2\nexit 1\n"), 0o700))
		c, err := tr.DialDocker(t.Context(), "/var/run/docker.sock")
		must(t, err)
		_, err = c.Read(make([]byte, 1))
		c.Close()
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%q is not said: %v", said, err)
		}
		for _, meaning := range []error{syscall.ECONNREFUSED, fs.ErrPermission} {
			if errors.Is(err, meaning) != errors.Is(want, meaning) {
				t.Errorf("%q: is %v: %t", said, meaning, errors.Is(err, meaning))
			}
		}
	}
}
