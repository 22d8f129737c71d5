// Package testhosts boots real Docker hosts for tests: systemd as PID 1, sshd,
// sudo and dockerd, from Debian's packages, on a machine that needs no network
// once their tree is built. It knows nothing of renewer.
//
//	func TestMain(m *testing.M) { os.Exit(testhosts.Main(m)) }
//
//	func TestRestart(t *testing.T) {
//		host := testhosts.Start(t, "host-b")[0]
//		out, err := host.Run(t.Context(), "systemctl", "is-active", "docker")
//	}
//
// It wants root on Debian or Ubuntu, and the programs that e2e/install installs.
//
// # What a host is
//
// A host is as `apt-get install docker.io openssh-server sudo` leaves it:
// Docker on its own socket without TLS, a user "renewer" who may use sudo
// without a password and logs in with the key in [Login].IdentityFile. Its
// address is 10.77.0.11 or a later one; the tests are at 10.77.0.1. A host is
// gone, with all that was written to it, when the test that started it ends.
//
// # Where it all lives
//
// [Main] runs the tests in a process below the first one, with a process table,
// a mount table and a network of their own. Hosts, their disks (in memory) and
// their links exist in there only: whatever ends the first process, SIGKILL
// too, the kernel takes everything with it. Two things outlast it. The hosts'
// root tree is kept for the next run in $RENEWER_TESTHOSTS, else in
// renewer-testhosts under the user's cache directory, named after a hash of its
// recipe. And a killed run leaves empty cgroups, which the next one removes.
//
// The hosts see cgroups of version 2 whatever the machine has; a machine that
// gives its controllers to version 1 has none left for them, so there are no
// limits on memory or CPU in a container.
package testhosts
