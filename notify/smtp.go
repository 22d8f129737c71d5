package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"

	"renewer/internal/atomicfile"
	"renewer/internal/netcause"
	"renewer/internal/secret"
	"renewer/renewer"
)

// SMTPSecurity is how the connection to a mail server is kept private.
type SMTPSecurity string

// The ways; a server that cannot do what is asked for gets no message.
const (
	StartTLS    SMTPSecurity = "starttls" // RFC 3207; the default
	ImplicitTLS SMTPSecurity = "implicit" // RFC 8314; the default on port 465
	PlainText   SMTPSecurity = "none"     // nothing is private; no login
)

// SMTP sends mail, one message to all recipients.
type SMTP struct {
	Address      string // host:port
	From         string
	To           []string
	Username     string // empty: no login
	PasswordFile string
	Security     SMTPSecurity // empty: the default for the port
	CAFile       string       // trust for the server's certificate; empty: the system's
}

// Send implements Sender.
func (s SMTP) Send(ctx context.Context, m Message) error {
	password, err := s.password()
	if err != nil {
		return err
	}
	return redact(s.send(ctx, password, m), password)
}

func (s SMTP) send(ctx context.Context, password secret.Text, m Message) error {
	from, to, err := s.addresses()
	if err != nil {
		return err
	}
	c, err := s.open(ctx, password)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := talk(c, from, to, m); err != nil {
		return fmt.Errorf("mail server %s: %w", s.Address, err)
	}
	return nil
}

// Check implements Sender. To reach the server is to log in there too.
func (s SMTP) Check(ctx context.Context, reach bool) error {
	password, err := s.password()
	if err != nil {
		return err
	}
	_, _, err = s.addresses()
	if err == nil {
		_, err = s.roots()
	}
	if err != nil || !reach {
		return err
	}
	c, err := s.open(ctx, password)
	if err == nil {
		_ = c.Quit()
		_ = c.Close()
	}
	return redact(err, password)
}

func (s SMTP) password() (secret.Text, error) {
	if s.PasswordFile == "" {
		return secret.Text{}, nil
	}
	return readSecret("password of the mail server", s.PasswordFile)
}

// open connects to the server and logs in.
func (s SMTP) open(ctx context.Context, password secret.Text) (*smtp.Client, error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", s.Address, err)
	}
	how := s.Security
	if how == "" {
		how = StartTLS
		if port == "465" {
			how = ImplicitTLS
		}
	}
	if how == PlainText && s.Username != "" {
		return nil, renewer.WithHint(errors.New("refused to log in over an unencrypted connection"), "remove tls: none, or username and password_file")
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, host, how, &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", s.Address, netcause.Of(err))
	}
	if s.Username == "" {
		return c, nil
	}
	if err := c.Auth(smtp.PlainAuth("", s.Username, password.Reveal(), host)); err != nil {
		_ = c.Close()
		return nil, renewer.WithHint(fmt.Errorf("mail server %s: log in as %s: %w", s.Address, s.Username, plain(err)), "check username and password_file of the channel")
	}
	return c, nil
}

func (s SMTP) addresses() (from *mail.Address, to []*mail.Address, err error) {
	if from, err = mail.ParseAddress(s.From); err != nil {
		return nil, nil, fmt.Errorf("the sender's address %q: %w", s.From, err)
	}
	for _, a := range s.To {
		addr, err := mail.ParseAddress(a)
		if err != nil {
			return nil, nil, fmt.Errorf("the recipient's address %q: %w", a, err)
		}
		to = append(to, addr)
	}
	return from, to, nil
}

func (s SMTP) roots() (*x509.CertPool, error) {
	if s.CAFile == "" {
		return nil, nil // the system's
	}
	pem, err := atomicfile.ReadLimited(s.CAFile, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the mail server: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, renewer.WithHint(fmt.Errorf("%s holds no certificate", s.CAFile), "put the CA of the mail server there, as PEM")
	}
	return pool, nil
}

// connect returns a connection that is as private as asked, and that ends with
// ctx whatever the server does.
func (s SMTP) connect(ctx context.Context, host string, how SMTPSecurity, cfg *tls.Config) (_ *smtp.Client, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if how == ImplicitTLS {
		conn = tls.Client(conn, cfg)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsAny(name, "\r\n ") {
		name = "localhost"
	}
	if err := c.Hello(name); err != nil {
		return nil, err
	}
	if how == StartTLS {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return nil, renewer.WithHint(errors.New("the server does not offer STARTTLS"),
				"use its port for TLS with tls: implicit, or tls: none on a private network")
		}
		if err := c.StartTLS(cfg); err != nil {
			return nil, fmt.Errorf("STARTTLS: %w", err)
		}
	}
	return c, nil
}

func talk(c *smtp.Client, from *mail.Address, to []*mail.Address, m Message) error {
	if err := c.Mail(from.Address); err != nil {
		return fmt.Errorf("sender %s: %w", from.Address, plain(err))
	}
	for _, a := range to {
		if err := c.Rcpt(a.Address); err != nil {
			return fmt.Errorf("recipient %s: %w", a.Address, plain(err))
		}
	}
	w, err := c.Data()
	if err != nil {
		return plain(err)
	}
	if _, err := w.Write(letter(from, to, m)); err != nil {
		return plain(err)
	}
	if err := w.Close(); err != nil { // here the server takes it
		return plain(err)
	}
	_ = c.Quit() // it is taken, whatever the server says now
	return nil
}

// plain bounds what a server may bring into an error.
func plain(err error) error {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return fmt.Errorf("it answered %d%s", reply.Code, quoted([]byte(reply.Msg)))
	}
	return err
}

// letter is the mail (RFC 5322). Its Message-ID is that of the message, so
// that a second copy of it is known as such.
func letter(from *mail.Address, to []*mail.Address, m Message) []byte {
	var out bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&out, "%s: %s\r\n", name, value) }
	names := make([]string, 0, len(to))
	for _, a := range to {
		names = append(names, a.String())
	}
	domain := from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	header("From", from.String())
	header("To", strings.Join(names, ",\r\n "))
	header("Subject", mime.QEncoding.Encode("utf-8", m.Title))
	header("Date", m.Time.UTC().Format(time.RFC1123Z))
	header("Message-ID", "<"+m.ID+"@"+domain+">")
	for _, h := range mailPriority[m.level()] {
		header(h[0], h[1])
	}
	header("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	out.WriteString("\r\n")
	body := quotedprintable.NewWriter(&out)
	_, _ = body.Write([]byte(m.Text)) // a buffer takes all
	_ = body.Close()
	out.WriteString("\r\n")
	return out.Bytes()
}
