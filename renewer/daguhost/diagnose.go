package daguhost

import (
	"crypto/x509"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"renewer/renewer"
)

// Case is what is known of one placement when it is diagnosed.
type Case struct {
	Certificate renewer.Certificate
	Placement   renewer.Placement
	Leaf        *x509.Certificate // of the current generation; nil: there is none
	Servers     []Server          // coordinators that it may dial
	Facts       Facts
	// Intermediates come with the leaf.
	Intermediates []*x509.Certificate
}

// Server is one certificate that coordinators show.
type Server struct {
	Certificate string
	Group       string // peer_group
	Leaf        *x509.Certificate
	ClientRoots []*x509.Certificate // that clients are verified with; nil: clients need no certificate
}

// Applies reports whether a certificate is of a Dagu process.
func Applies(c renewer.Certificate) bool {
	return strings.HasPrefix(c.Profile, "dagu-") && !c.IsBundle()
}

func (c Case) serves() bool { return slices.Contains(c.Certificate.Usages, renewer.UsageServer) }
func (c Case) dials() bool  { return slices.Contains(c.Certificate.Usages, renewer.UsageClient) }

func (c Case) file(kind renewer.FileKind) string {
	if name := c.Placement.Files[kind]; name != "" {
		return path.Join(c.Placement.Dir, name)
	}
	return ""
}

type verdict struct {
	level     renewer.FindingLevel
	text, fix string
}

func fine(format string, a ...any) verdict {
	return verdict{level: renewer.FindingOK, text: fmt.Sprintf(format, a...)}
}

func bad(fix, format string, a ...any) verdict {
	return verdict{renewer.FindingFail, fmt.Sprintf(format, a...), fix}
}

var checks = []struct {
	name string
	look func(Case) verdict
}{
	{"dagu-unit", unit},
	{"dagu-tls", tlsOn},
	{"dagu-insecure", insecure},
	{"dagu-skip-verify", skipVerify},
	{"dagu-name", names},
	{"dagu-guard", guard},
	{"dagu-client-certificate", clientCertificate},
	{"dagu-key", key},
}

// Diagnose makes every check that applies, good results too.
func Diagnose(c Case) []renewer.Finding {
	var found []renewer.Finding
	if c.Facts.Unit == "" {
		return append(found, renewer.Finding{
			Check: "dagu-unit", Host: c.Placement.Host, Certificate: c.Placement.Certificate, Level: renewer.FindingUnknown,
			Text: "cannot read the settings of Dagu: it is activated by " + string(c.Placement.Activate.Kind) + ", not by a systemd unit",
			Fix:  snippet(c) + "; compare it with the settings that Dagu is started with",
		})
	}
	for _, ch := range checks {
		if v := ch.look(c); v.level != "" {
			found = append(found, renewer.Finding{
				Check: ch.name, Host: c.Placement.Host, Certificate: c.Placement.Certificate, Level: v.level, Text: v.text, Fix: v.fix,
			})
		}
	}
	return found
}

func unit(c Case) verdict {
	if !c.Facts.Loaded {
		return bad("check units: of "+c.Certificate.Entry+" against systemctl list-unit-files 'dagu*'", "there is no unit %s", c.Facts.Unit)
	}
	return verdict{}
}

func snippet(c Case) string {
	return "renewer show " + c.Certificate.Name + " --config-snippet prints what to set"
}

// tlsOn: is TLS really on, and with the files that are renewed?
func tlsOn(c Case) verdict {
	s := c.Facts.Settings
	if !c.Facts.Loaded {
		return verdict{}
	}
	if c.serves() {
		switch cert, key := s.CertFile.Value, s.KeyFile.Value; {
		case cert == "" && key == "":
			return bad(snippet(c), "%s serves plaintext: neither peer.cert_file nor peer.key_file is set, and TLS is on only with both", c.Facts.Unit)
		case cert == "" || key == "":
			return bad(snippet(c), "%s serves plaintext: only one of peer.cert_file and peer.key_file is set, and TLS is on only with both", c.Facts.Unit)
		}
	}
	for _, f := range []struct {
		key  string
		have Setting
		kind renewer.FileKind
	}{{"peer.cert_file", s.CertFile, renewer.FileCert}, {"peer.key_file", s.KeyFile, renewer.FileKey}, {"peer.client_ca_file", s.ClientCAFile, renewer.FileCA}} {
		want := c.file(f.kind)
		switch {
		case want == "" && f.kind == renewer.FileCA && c.serves() && !c.dials() && f.have.Value != "":
			return bad("give the entry a ca file, or unset it", "%s requires client certificates (%s in %s), but the fleet file has no ca file for it", c.Facts.Unit, f.key, f.have.From)
		case want == "" || f.have.Value == "" && !c.serves(): // client-certificate and insecure say so
		case f.have.Value == "" && f.kind == renewer.FileCA:
			return bad(snippet(c), "peer.client_ca_file is not set for %s: it accepts every client, with or without a certificate", c.Facts.Unit)
		case path.Clean(f.have.Value) != want:
			return bad(snippet(c), "%s uses %s as %s (%s), but the renewed file is %s", c.Facts.Unit, f.have.Value, f.key, f.have.From, want)
		}
	}
	return fine("%s uses the files that are renewed", c.Facts.Unit)
}

// insecure: a client talks plaintext unless it is configured not to.
func insecure(c Case) verdict {
	s := c.Facts.Settings.Insecure
	switch {
	case !c.Facts.Loaded || !s.on(true):
		return verdict{}
	case !c.dials():
		return verdict{renewer.FindingWarn, fmt.Sprintf("peer.insecure is on for %s: it serves TLS, but dials other coordinators in plaintext", c.Facts.Unit), "set peer.insecure: false"}
	case s.From == "":
		return bad(snippet(c), "%s dials in plaintext: peer.insecure is not set, and is true by default", c.Facts.Unit)
	}
	return bad("set it to false", "%s dials in plaintext: peer.insecure is on in %s", c.Facts.Unit, s.From)
}

// guard: does what holds a restart see all that a restart would end?
func guard(c Case) verdict {
	g := c.Placement.Guard
	if g == nil || g.Dagu == nil || !c.Facts.Works {
		return verdict{} // the steps of what runs DAGs itself are all below child processes
	}
	alone := "the guard of " + c.Facts.Unit + " sees child processes only"
	const lost = ": steps such as wait, http, ssh, sql and mail have none, and a restart stops them"
	switch by := g.Dagu.By; {
	case by == renewer.IdleByProcesses:
		return verdict{renewer.FindingWarn, alone + lost, "guard: {dagu: {wait_idle: {by: coordinator}}} for " + c.Certificate.Entry + " asks the coordinator too"}
	case by == renewer.IdleByCoordinator && !slices.ContainsFunc(c.Servers, func(s Server) bool { return s.Group == c.Certificate.PeerGroup }):
		return verdict{
			renewer.FindingWarn, alone + ", because its peer_group has no coordinator with a certificate in place" + lost,
			"guard: {dagu: {wait_idle: {by: {api: {url: https://DAGU:8080/api/v1/workers, token_file: FILE}}}}} for " + c.Certificate.Entry + " asks Dagu's API",
		}
	}
	return verdict{}
}

func skipVerify(c Case) verdict {
	s := c.Facts.Settings.SkipTLSVerify
	if !s.on(false) {
		return verdict{}
	}
	return bad("unset it, and set peer.client_ca_file to the CA of the coordinator's certificate", "peer.skip_tls_verify is on in %s: the certificate of the coordinator is not verified", s.From)
}

// names: which address is dialled, by whom, and which names are covered.
func names(c Case) verdict {
	s := c.Facts.Settings
	if c.serves() && c.Leaf != nil && s.Advertise.Value != "" {
		name := hostOf(s.Advertise.Value)
		if c.Leaf.VerifyHostname(name) != nil {
			return bad("add "+name+" to sans: of "+c.Certificate.Entry+", then renewer renew "+c.Certificate.Name,
				"clients dial %s (coordinator.advertise in %s), but %s covers only %s", name, s.Advertise.From, c.Certificate.Name, covered(c.Leaf))
		}
	}
	if name := c.Facts.Hostname; c.serves() && c.Leaf != nil && s.Advertise.Value == "" && name != "" && c.Leaf.VerifyHostname(name) != nil {
		return bad("add "+name+" to sans: of "+c.Certificate.Entry+" and renewer renew "+c.Certificate.Name+", or set coordinator.advertise to a name that is covered",
			"scheduler and server dial %s (the hostname, because coordinator.advertise is not set), but %s covers only %s", name, c.Certificate.Name, covered(c.Leaf))
	}
	if !c.dials() || s.Coordinators.Value == "" || len(c.Servers) == 0 {
		return verdict{}
	}
	var dialled []string
	for address := range strings.SplitSeq(s.Coordinators.Value, ",") {
		name := hostOf(strings.TrimSpace(address))
		if name == "" || slices.ContainsFunc(c.Servers, func(s Server) bool { return s.Leaf.VerifyHostname(name) == nil }) {
			dialled = append(dialled, name)
			continue
		}
		var covers []string
		for _, s := range c.Servers {
			covers = append(covers, s.Certificate+" covers "+covered(s.Leaf))
		}
		return bad("add "+name+" to sans: of the coordinator's certificate, or dial an address that is covered",
			"%s on %s dials %s (%s), which no coordinator's certificate covers: %s", c.Facts.Unit, c.Placement.Host, name, s.Coordinators.From, strings.Join(covers, "; "))
	}
	return fine("%s dials %s, which is covered", c.Facts.Unit, strings.Join(dialled, ", "))
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

func covered(leaf *x509.Certificate) string {
	if sans := renewer.SANs(leaf); len(sans) > 0 {
		return strings.Join(sans, ", ")
	}
	return "no name"
}

// clientCertificate: is one sent, is it of a CA that the coordinator trusts,
// and has it the usage?
func clientCertificate(c Case) verdict {
	i := slices.IndexFunc(c.Servers, func(s Server) bool { return s.ClientRoots != nil })
	if !c.dials() || i < 0 || !c.Facts.Loaded {
		return verdict{}
	}
	s, server := c.Facts.Settings, c.Servers[i]
	switch {
	case s.CertFile.Value == "" || s.KeyFile.Value == "":
		return bad(snippet(c), "%s sends no certificate, but %s requires one: set both peer.cert_file and peer.key_file", c.Facts.Unit, server.Certificate)
	case c.Leaf == nil:
		return verdict{}
	case !slices.Contains(renewer.UsagesOf(c.Leaf), renewer.UsageClient):
		return bad("set usages: [client] for "+c.Certificate.Entry+", then renewer renew "+c.Certificate.Name,
			"the certificate of %s does not have the usage clientAuth: the coordinator answers \"bad certificate\"", c.Facts.Unit)
	case !c.signedBy(server.ClientRoots):
		return bad("trust: of "+server.Certificate+" has to name the issuer "+c.Certificate.Issuer,
			"the certificate of %s was issued by %q, and the client CA file of %s has no root of that name: the coordinator answers \"certificate required\"", c.Facts.Unit, c.Leaf.Issuer, server.Certificate)
	}
	return fine("%s sends a certificate that %s trusts", c.Facts.Unit, server.Certificate)
}

// signedBy leaves the dates to other checks.
func (c Case) signedBy(roots []*x509.Certificate) bool {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: c.Leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, r := range roots {
		o.Roots.AddCert(r)
	}
	for _, i := range c.Intermediates {
		o.Intermediates.AddCert(i)
	}
	_, err := c.Leaf.Verify(o)
	return err == nil
}

func key(c Case) verdict {
	file := c.file(renewer.FileKey)
	switch f := c.Facts; {
	case f.KeyErr != nil:
		return bad("set owner: "+f.User+" for "+c.Certificate.Entry+" (without owner: renewer takes User= of the unit), then renewer renew "+c.Certificate.Name,
			"the user %s of %s cannot read %s", f.User, f.Unit, file)
	case f.KeyUnknown != nil:
		return verdict{renewer.FindingUnknown, fmt.Sprintf("could not check whether the user %s of %s can read %s: %v", f.User, f.Unit, file, f.KeyUnknown), "set sudo: true for the host"}
	case file == "" || !f.Loaded:
		return verdict{}
	default:
		return fine("the user %s of %s can read %s", f.User, f.Unit, file)
	}
}
