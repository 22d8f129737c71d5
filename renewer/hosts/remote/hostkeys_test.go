package remote

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"renewer/internal/testssh"
	"renewer/renewer"
)

func line(names string, key ssh.PublicKey) string {
	return fmt.Sprintf("%s %s %s\n", names, key.Type(), base64.StdEncoding.EncodeToString(key.Marshal()))
}

// certificate is a host key signed by a CA.
func certificate(t *testing.T, ca, key ssh.Signer, until time.Time, principals ...string) ssh.Signer {
	t.Helper()
	c := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: principals,
		ValidAfter: uint64(time.Now().Add(-48 * time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
	}
	must(t, c.SignCert(rand.Reader, ca))
	s, err := ssh.NewCertSigner(c, key)
	must(t, err)
	return s
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	key, other, ca := testssh.NewKey(t).Signer, testssh.NewKey(t).Signer, testssh.NewKey(t).Signer
	soon := time.Now().Add(time.Hour)
	plain := []ssh.Signer{key}
	signed := []ssh.Signer{certificate(t, ca, key, soon, "127.0.0.1"), key}
	for name, c := range map[string]struct {
		keys  []ssh.Signer // of the host
		known string       // NAME stands for [host]:port
		err   string       // empty: the host is accepted
		hint  string
		kind  any
	}{
		"known":                    {plain, line("NAME", key.PublicKey()), "", "", nil},
		"one of several":           {plain, line("NAME", other.PublicKey()) + line("x,NAME,y", key.PublicKey()), "", "", nil},
		"without its port":         {plain, line("127.0.0.1", key.PublicKey()), "", "", nil},
		"wildcard":                 {plain, line("127.0.*,!127.0.0.9", key.PublicKey()), "", "", nil},
		"hashed":                   {plain, line("HASHED", key.PublicKey()), "", "", nil},
		"certificate":              {signed, "@cert-authority " + line("NAME", ca.PublicKey()), "", "", nil},
		"certificate for any name": {signed, "@cert-authority " + line("*", ca.PublicKey()), "", "", nil},
		"certificate of an unknown CA with a known key": {signed, line("NAME", key.PublicKey()), "", "", nil},

		"empty file":         {plain, "", "is unknown", "[127.0.0.1]:", new(UnknownHostKeyError)},
		"another host":       {plain, line("127.0.0.2", key.PublicKey()), "is unknown", "then add this line", new(UnknownHostKeyError)},
		"another, portless":  {plain, line("127.0.0.1", other.PublicKey()), "is unknown", "then add this line", new(UnknownHostKeyError)},
		"the CA's own key":   {[]ssh.Signer{ca}, "@cert-authority " + line("NAME", ca.PublicKey()), "is unknown", "then add this line", new(UnknownHostKeyError)},
		"changed":            {plain, line("NAME", other.PublicKey()), "has changed", "ssh-keygen -R '[127.0.0.1]:", new(ChangedHostKeyError)},
		"changed, hashed":    {plain, line("HASHED", other.PublicKey()), "has changed", "ssh-keygen -R", new(ChangedHostKeyError)},
		"another CA":         {signed, "@cert-authority " + line("NAME", other.PublicKey()), "is unknown", "then add this line", new(UnknownHostKeyError)},
		"revoked":            {plain, line("NAME", key.PublicKey()) + "@revoked " + line("*", key.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked CA":         {signed, "@cert-authority " + line("NAME", ca.PublicKey()) + "@revoked " + line("*", ca.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked key signed": {signed, "@cert-authority " + line("NAME", ca.PublicKey()) + "@revoked " + line("*", key.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"expired certificate": {
			[]ssh.Signer{certificate(t, ca, key, time.Now().Add(-time.Hour), "127.0.0.1")},
			"@cert-authority " + line("NAME", ca.PublicKey()), "expired", "sign the host key again", nil,
		},
		"certificate for another": {
			[]ssh.Signer{certificate(t, ca, key, soon, "elsewhere")},
			"@cert-authority " + line("NAME", ca.PublicKey()), "principal", "sign the host key again", nil,
		},
		"a line cut short, and the right one":        {plain, "half.example ssh-ed25519\n" + line("NAME", key.PublicKey()), "", "", nil},
		"the host's own line cut short":              {plain, "NAME ssh-ed25519 AAAA\n", "is unknown", "then add this line", new(UnknownHostKeyError)},
		"a line of SSH 1, and the right one":         {plain, "marla.example 1024 35 1432722500497161697\n" + line("NAME", key.PublicKey()), "", "", nil},
		"bytes of no text, and the right one":        {plain, "\x00\xff\xfe ssh-rsa \x00\n" + line("NAME", key.PublicKey()), "", "", nil},
		"a line without end, and the right one":      {plain, strings.Repeat("x", 200<<10) + " y z\n" + line("NAME", key.PublicKey()), "", "", nil},
		"byte order mark and CR LF":                  {plain, "\ufeff" + strings.ReplaceAll(line("NAME", key.PublicKey()), "\n", "\r\n"), "", "", nil},
		"an unknown mark, and the right line":        {plain, "@trusted " + line("NAME", other.PublicKey()) + line("NAME", key.PublicKey()), "", "", nil},
		"another type than it says":                  {plain, strings.Replace(line("NAME", key.PublicKey()), "ssh-ed25519", "ssh-rsa", 1), "is unknown", "then add this line", new(UnknownHostKeyError)},
		"revoked after a line cut short":             {plain, line("NAME", key.PublicKey()) + "half.example ssh-ed25519\n@revoked " + line("*", key.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked with another type than it has":      {plain, line("NAME", key.PublicKey()) + "@revoked " + strings.Replace(line("*", key.PublicKey()), "ssh-ed25519", "ssh-rsa", 1), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked without a name":                     {plain, line("NAME", key.PublicKey()) + "@revoked " + line("", key.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked after a revoked line that was cut":  {plain, line("NAME", key.PublicKey()) + "@revoked * ssh-ed25519 AAAAC3\n@revoked " + line("*", key.PublicKey()), "is revoked", "new host keys", new(RevokedHostKeyError)},
		"revoked key at the end of a file, no break": {plain, line("NAME", key.PublicKey()) + strings.TrimSpace("@REVOKED "+line("*", key.PublicKey())), "is revoked", "new host keys", new(RevokedHostKeyError)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testssh.Start(t, testssh.Options{HostKeys: c.keys})
			cfg := config(t, s)
			text := strings.ReplaceAll(c.known, "NAME", knownhosts.Normalize(s.Address()))
			text = strings.ReplaceAll(text, "HASHED", knownhosts.HashHostname(knownhosts.Normalize(s.Address())))
			must(t, os.WriteFile(cfg.KnownHostsFile, []byte(text), 0o600))
			tr := reach(t, client(t), cfg)
			err := oneRun(t, tr)
			after, rerr := os.ReadFile(cfg.KnownHostsFile)
			must(t, rerr)
			equal(t, "known hosts afterwards", string(after), text)
			if c.err == "" {
				must(t, err)
				return
			}
			refused(t, err, c.err, c.hint)
			switch c.kind.(type) {
			case *UnknownHostKeyError:
				e := as[*UnknownHostKeyError](t, err)
				// What the hint says works.
				must(t, os.WriteFile(e.File, []byte(e.Line+"\n"), 0o600))
				must(t, oneRun(t, tr))
			case *ChangedHostKeyError:
				as[*ChangedHostKeyError](t, err)
			case *RevokedHostKeyError:
				as[*RevokedHostKeyError](t, err)
			}
		})
	}
}

// HostKeyAlias is the name that known_hosts has, as it is: no port is put to it, one
// that it has stays, and another key under it has changed.
func TestHostKeyAlias(t *testing.T) {
	t.Parallel()
	key, other := testssh.NewKey(t).Signer, testssh.NewKey(t).Signer
	ca := testssh.NewKey(t).Signer
	signed := certificate(t, ca, key, time.Now().Add(time.Hour), "[web]:2222")
	for name, c := range map[string]struct {
		alias, known string
		keys         []ssh.Signer
		err          string
	}{
		"a name":                       {"web", line("web", key.PublicKey()), []ssh.Signer{key}, ""},
		"in capitals":                  {"WEB", line("Web", key.PublicKey()), []ssh.Signer{key}, ""},
		"a name and a port":            {"[web]:2222", line("[web]:2222", key.PublicKey()), []ssh.Signer{key}, ""},
		"a name and the usual port":    {"[web]:22", "[web]:22 " + strings.TrimPrefix(line("x", key.PublicKey()), "x "), []ssh.Signer{key}, ""},
		"the name with a port":         {"web", line("[web]:PORT", key.PublicKey()), []ssh.Signer{key}, "is unknown"},
		"the name without its port":    {"[web]:2222", line("web", key.PublicKey()), []ssh.Signer{key}, "is unknown"},
		"the address":                  {"web", line("[127.0.0.1]:PORT", key.PublicKey()), []ssh.Signer{key}, "is unknown"},
		"another key":                  {"web", line("web", other.PublicKey()), []ssh.Signer{key}, "has changed"},
		"another key, with a port":     {"[web]:2222", line("[web]:2222", other.PublicKey()), []ssh.Signer{key}, "has changed"},
		"a certificate of that name":   {"[web]:2222", "@cert-authority " + line("[web]:2222", ca.PublicKey()), []ssh.Signer{signed}, ""},
		"a certificate of another one": {"web", "@cert-authority " + line("web", ca.PublicKey()), []ssh.Signer{signed}, "principal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testssh.Start(t, testssh.Options{HostKeys: c.keys})
			cfg := config(t, s)
			cl := client(t)
			write(t, cl.ssh("config"), "HostKeyAlias "+c.alias+"\n")
			must(t, os.WriteFile(cfg.KnownHostsFile, []byte(strings.ReplaceAll(c.known, "PORT", strconv.Itoa(s.Port))), 0o600))
			tr := reach(t, cl, cfg)
			err := oneRun(t, tr)
			if c.err == "" {
				must(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			var unknown *UnknownHostKeyError
			if errors.As(err, &unknown) { // what the hint says works
				must(t, os.WriteFile(unknown.File, []byte(unknown.Line+"\n"), 0o600))
				must(t, oneRun(t, tr))
			}
		})
	}
}

// Without known_hosts_file: both usual files count, and a missing one is empty.
func TestUsualKnownHosts(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	cfg := config(t, s)
	known, err := os.ReadFile(cfg.KnownHostsFile)
	must(t, err)
	cfg.KnownHostsFile = ""
	c := client(t)
	tr := reach(t, c, cfg)
	refused(t, oneRun(t, tr), "is unknown", filepath.Join(c.Home, ".ssh", "known_hosts"))
	write(t, c.allHosts, string(known))
	must(t, oneRun(t, tr))
}

// Of several keys the host is asked for the one that is known, and a host that
// speaks only SHA-1 or DSA is refused.
func TestHostKeyAlgorithms(t *testing.T) {
	t.Parallel()
	c := client(t)
	algorithms := func(text string) []string {
		write(t, c.ssh("known_hosts"), text)
		// Rewritten within the clock's grain: not what is tested here.
		c.known = cache[*knownHosts]{}
		h, err := c.hostKeys(t.Context(), target{known: []string{c.ssh("known_hosts")}, host: "host-b", port: "22"})
		must(t, err)
		return h.algorithms()
	}
	ed := testssh.NewKey(t).Signer.PublicKey()
	const rsa = "host-b ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC/9QuBHfeljqJGIpHEZnfcdzqOJcMBNn3Q9LPQ8wTZjkRnAUsmq6TJKcXiOBO/V8wkzIbXE4mnkQOdwH6Q5ADTd5AAFwqtcmvO2Q/cPVAKnt4RFbO8KjrDDBSxcG2nqYQ7zg4XM7chhPcVT/eW1hB5XjhmGwOkcPJoDSaaQwRbrQ==\n"
	for _, x := range []struct{ known, first string }{
		{"", ssh.KeyAlgoED25519},
		{line("host-b", ed), ssh.KeyAlgoED25519},
		{rsa, ssh.KeyAlgoRSASHA512},
		{"@cert-authority " + line("*", ed), ssh.CertAlgoED25519v01},
	} {
		got := algorithms(x.known)
		equal(t, "first", got[0], x.first)
		for _, a := range got {
			if slices.Contains(ssh.InsecureAlgorithms().HostKeys, a) {
				t.Errorf("%s is offered", a)
			}
		}
	}
}

func TestHostKeyErrorsHaveAClass(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&UnknownHostKeyError{}, &ChangedHostKeyError{Known: []knownhosts.KnownKey{{}}}, &RevokedHostKeyError{}} {
		equal(t, "class", renewer.ClassOf(fmt.Errorf("x: %w", err)), renewer.ClassMisconfigured)
	}
}

// A line that cannot be parsed is logged once, with its place.
func TestSkippedLineIsReportedOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := client(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	write(t, c.ssh("known_hosts"), "# fine\n\nhalf.example ssh-ed25519\n@revoked * ssh-ed25519 AAAA\n")
	for range 3 {
		_, err := c.hostKeys(t.Context(), target{known: []string{c.ssh("known_hosts")}, host: "host-b", port: "22"})
		must(t, err)
	}
	for _, at := range []string{"known_hosts:3", "known_hosts:4"} {
		equal(t, at, strings.Count(log.String(), at), 1)
	}
	if !strings.Contains(log.String(), "the revoked key") {
		t.Errorf("log %q", log.String())
	}
}

func FuzzKnownHosts(f *testing.F) {
	key := testssh.NewKey(f).Signer.PublicKey()
	f.Add([]byte(line("host-b", key)), "half ssh-ed25519\n")
	f.Add([]byte("|1|x|y ssh-rsa A\n"), "@revoked x\n@cert-authority\n")
	f.Fuzz(func(t *testing.T, text []byte, more string) {
		// What stands before it takes nothing from a good line, or from one that revokes.
		all := string(text) + "\n" + more + "\n@revoked " + line("*", key) + line("host-b", key)
		k, err := parseKnownHosts(strings.NewReader(all), "f")
		must(t, err)
		if _, ok := k.revoked[string(key.Marshal())]; !ok {
			t.Error("what is revoked was lost")
		}
		last := k.lines[len(k.lines)-1]
		if !last.names("host-b") || last.authority {
			t.Errorf("last line %+v", last)
		}
	})
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXbY", false},
		{"?", "", false},
		{"a?c", "abc", true},
		{"*.example", "a.example", true},
		{"*.example", "example", false},
		{"[127.0.0.1]:*", "[127.0.0.1]:22", true},
		{"", "x", false},
		{strings.Repeat("*a", 50), strings.Repeat("a", 5000) + "b", false},
	} {
		equal(t, c.pattern+" "+c.s, wildcard(c.pattern, c.s), c.want)
	}
}
