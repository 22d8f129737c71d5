package notify

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
)

// sink is a real mail server (Debian's python3-aiosmtpd) that prints what it
// takes. Its modes: starttls, implicit, plain.
const sink = `
import asyncio, base64, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
mode, cert, key = sys.argv[1:4]
ctx = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
if mode != "plain":
    ctx.load_cert_chain(cert, key)
class Handler:
    async def handle_DATA(self, server, session, envelope):
        for line in [session.auth_data.decode() if session.auth_data else "-", envelope.mail_from, " ".join(envelope.rcpt_tos)]:
            print(line)
        print(base64.b64encode(envelope.content).decode(), flush=True)
        return "250 taken"
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=data.password == b"hunter2", handled=False, auth_data=data.login)
async def main():
    loop = asyncio.get_running_loop()
    def factory():
        return SMTP(Handler(), authenticator=login, auth_required=False, require_starttls=mode == "starttls",
                    auth_require_tls=mode == "starttls", tls_context=ctx if mode == "starttls" else None)
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=ctx if mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
`

// python is Debian's own: it sees Debian's packages.
const python = "/usr/bin/python3"

// mailServer starts a sink and returns its address and what it prints.
func mailServer(t *testing.T, mode string) (address, caFile string, out *bufio.Scanner) {
	t.Helper()
	if exec.Command(python, "-c", "import aiosmtpd").Run() != nil {
		t.Skip("SKIPPED: mail is tested against Debian's python3-aiosmtpd, which is not installed (apt-get install python3-aiosmtpd)")
	}
	ca, dir := testpki.New(t), t.TempDir()
	caFile = filepath.Join(dir, "ca.pem")
	testpki.WriteFile(t, caFile, ca.PEM(), 0o644)
	certFile, keyFile := ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}}).Write(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, python, "-c", sink, mode, certFile, keyFile)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	out = bufio.NewScanner(pipe)
	out.Buffer(nil, 1<<20)
	if !out.Scan() {
		t.Fatal("the mail server did not start")
	}
	return "127.0.0.1:" + out.Text(), caFile, out
}

// taken reads the next mail.
func taken(t *testing.T, out *bufio.Scanner) (login, from, to string, m *mail.Message) {
	t.Helper()
	var lines []string
	for len(lines) < 4 && out.Scan() {
		lines = append(lines, out.Text())
	}
	if len(lines) < 4 {
		t.Fatal("no mail came")
	}
	raw, err := base64.StdEncoding.DecodeString(lines[3])
	if err != nil {
		t.Fatal(err)
	}
	if m, err = mail.ReadMessage(strings.NewReader(string(raw))); err != nil {
		t.Fatal(err)
	}
	return lines[0], lines[1], lines[2], m
}

func TestMailArrives(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"starttls", "implicit", "plain"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			address, ca, out := mailServer(t, mode)
			m := message(t)
			m.Title = "renewer: größer"
			m.Text += "\n.\nline after a dot, and a long one " + strings.Repeat("é", 200)
			s := SMTP{Address: address, From: "Renewer <renewer@example.com>", To: []string{"ops@example.com", "Night Shift <night@example.com>"}, CAFile: ca}
			want := "-"
			switch mode {
			case "starttls":
				s.Username, s.PasswordFile, want = "user", file(t, "hunter2"), "user"
			case "implicit":
				s.Security = ImplicitTLS
			case "plain":
				s.Security = PlainText
			}
			if err := s.Check(soon(t, 20*time.Second), true); err != nil { // sends nothing: the first mail is m
				t.Fatal(err)
			}
			if err := s.Send(soon(t, 20*time.Second), m); err != nil {
				t.Fatal(err)
			}
			login, from, to, got := taken(t, out)
			subject, err := (&mime.WordDecoder{}).DecodeHeader(got.Header.Get("Subject"))
			body, err2 := io.ReadAll(quotedprintable.NewReader(got.Body))
			if err != nil || err2 != nil || login != want || from != "renewer@example.com" || to != "ops@example.com night@example.com" || subject != m.Title ||
				got.Header.Get("Message-Id") != "<"+m.ID+"@example.com>" || strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n")) != strings.TrimSpace(m.Text) {
				t.Errorf("%v %v: %s %s %s %v\n%s", err, err2, login, from, to, got.Header, body)
			}
			if list, err := got.Header.AddressList("To"); err != nil || len(list) != 2 {
				t.Error(list, err)
			}
		})
	}
}

func TestMailIsRefusedRatherThanShown(t *testing.T) {
	t.Parallel()
	address, ca, _ := mailServer(t, "starttls")
	plain, _, _ := mailServer(t, "plain")
	for name, c := range map[string]struct {
		s    SMTP
		want string
	}{
		"wrong password":      {SMTP{Address: address, CAFile: ca, Username: "user", PasswordFile: file(t, "hunter2-wrong")}, "log in as user: it answered 535"},
		"unknown CA":          {SMTP{Address: address}, "certificate signed by unknown authority"},
		"no STARTTLS":         {SMTP{Address: plain, CAFile: ca}, "does not offer STARTTLS"},
		"not TLS":             {SMTP{Address: plain, CAFile: ca, Security: ImplicitTLS}, "does not look like a TLS handshake"},
		"login in plain text": {SMTP{Address: plain, Security: PlainText, Username: "user", PasswordFile: file(t, "hunter2")}, "unencrypted"},
		"no CA":               {SMTP{Address: address, CAFile: file(t, "nonsense")}, "holds no certificate"},
		"no server there":     {SMTP{Address: "127.0.0.1:1"}, "refused"},
		"no password":         {SMTP{Address: address, PasswordFile: "/nosuch/file"}, "password of the mail server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.s.From, c.s.To = "a@example.com", []string{"b@example.com"}
			err := c.s.Send(soon(t, 20*time.Second), message(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want %q", err, c.want)
			}
			if found := c.s.Check(soon(t, 20*time.Second), true); found == nil || found.Error() != err.Error() {
				t.Errorf("a check finds %v, a message %v", found, err)
			}
		})
	}
	for _, bad := range []string{"a@example.com\r\nBcc: x@example.com", "no-domain", ""} {
		err := SMTP{Address: plain, From: bad, To: []string{"b@example.com"}, Security: PlainText}.Send(t.Context(), message(t))
		if err == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
}

// A server that goes silent at any point costs no more than the try's time.
func TestMailServerThatHangs(t *testing.T) {
	t.Parallel()
	for _, says := range []string{"", "220 here\r\n", "220 here\r\n250-here\r\n250 STARTTLS\r\n", strings.Repeat("220-x\r\n", 1000)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, says)
			_, _ = io.Copy(io.Discard, c)
		}()
		began := time.Now()
		err = SMTP{Address: l.Addr().String(), From: "a@example.com", To: []string{"b@example.com"}}.Send(soon(t, 200*time.Millisecond), message(t))
		if err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = l.Close()
		<-done
	}
}
