package testssh

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// session runs what a session asks for (RFC 4254, section 6).
func (s *Server) session(conn net.Conn, offered ssh.NewChannel) {
	ch, requests, err := offered.Accept()
	if err != nil {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer ch.Close()
	var mu sync.Mutex
	var cmd *exec.Cmd
	kill := func(sig syscall.Signal) {
		mu.Lock()
		defer mu.Unlock()
		if cmd != nil && cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, sig)
		}
	}
	defer kill(syscall.SIGKILL) // what the client left, where sshd would leave it
	for r := range requests {
		var text struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &text)
		switch {
		case r.Type == "subsystem" && text.Text == "sftp" && !s.opts.NoFiles:
			_ = r.Reply(true, nil)
			work.Go(func() { s.serveFiles(conn, ch); exit(ch, 0) })
		case r.Type == "exec" && strings.HasSuffix(text.Text, "/sftp-server' '-u' '077'") && s.opts.SudoSays == "":
			_ = r.Reply(true, nil)
			if mark, _, ok := strings.Cut(strings.TrimPrefix(text.Text, "echo "), ";"); ok {
				_, _ = ch.Write([]byte(s.opts.Noise + mark + "\n"))
			}
			if strings.Contains(text.Text, " '"+s.opts.SFTPServer+"' ") {
				work.Go(func() { s.serveFiles(conn, ch); exit(ch, 0) })
				continue
			}
			_, _ = ch.Stderr().Write([]byte("sudo: sftp-server: command not found\n"))
			exit(ch, 1)
		case r.Type == "exec":
			mu.Lock()
			cmd = exec.CommandContext(context.Background(), "/bin/sh", "-c", text.Text)
			cmd.Env = append(os.Environ(), "PATH="+s.Bin+":"+os.Getenv("PATH"))
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			mu.Unlock()
			_ = r.Reply(err == nil, nil)
			if err == nil {
				work.Go(func() {
					_, _ = io.Copy(in, ch)
					_ = in.Close()
				})
				work.Go(func() { ended(ch, cmd.Wait()) })
			}
		case r.Type == "signal":
			kill(map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}[text.Text])
		case r.WantReply:
			_ = r.Reply(false, nil)
		}
	}
}

func ended(ch ssh.Channel, err error) {
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		exit(ch, 0)
		return
	}
	if st := failed.Sys().(syscall.WaitStatus); st.Signaled() {
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			Core       bool
			Text, Lang string
		}{Signal: map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}[st.Signal()]}))
		_ = ch.Close()
		return
	}
	exit(ch, failed.ExitCode())
}

func exit(ch ssh.Channel, status int) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	_ = ch.Close()
}
