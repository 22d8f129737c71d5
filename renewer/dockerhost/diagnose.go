package dockerhost

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"renewer/renewer"
)

// Case is what is known of one placement when it is diagnosed.
type Case struct {
	Placement renewer.Placement
	Now       time.Time
	Usages    []renewer.Usage     // that the entry asks for
	Leaf      *x509.Certificate   // of the current generation; nil: there is none
	Life      time.Duration       // that its issuer gave it, at most what is asked for: it may be dated back by years
	Roots     []*x509.Certificate // that the ca file should have; nil: not known
	Placed    bool                // by this inventory, or adopted into it
	PlacedAt  time.Time           // by our clock; zero: not by this inventory
	// Facts are of the machine; Err says that it could not be looked at.
	Facts Facts
	Err   error
	// Probed: Seen and ProbeErr are what a probe saw now.
	Probed   bool
	Seen     renewer.Observation
	ProbeErr error
	// Served is the chain that the probe's address shows, leaf first, whatever is
	// wrong with it; nil: it was not seen.
	Served []*x509.Certificate
	// Clients are the addresses that the port is open to; none: not known.
	Clients []netip.Addr
}

// sighted is a leaf, and where it was seen.
type sighted struct {
	where string
	leaf  *x509.Certificate
}

// leaves are what peers see and what lies in the files; without either, what the
// inventory has.
func (c Case) leaves() (out []sighted) {
	if len(c.Served) > 0 {
		out = append(out, sighted{"the served certificate", c.Served[0]})
	}
	if disk := c.Facts.Disk.Chain.Leaf; disk != nil && (len(out) == 0 || !disk.Equal(out[0].leaf)) {
		out = append(out, sighted{"the certificate in " + c.Placement.Dir, disk})
	}
	if len(out) == 0 && c.Leaf != nil {
		out = append(out, sighted{"the current generation", c.Leaf})
	}
	return out
}

// fixing is the way to a certificate that the entry would have differently.
func (c Case) fixing(change string) string {
	if c.foreign() || c.Leaf == nil {
		return c.placing() + " replaces it with a certificate of the entry; without renewer, issue a new one with what is missing"
	}
	return change
}

// docker reports whether a Docker daemon serves the placement.
func (c Case) docker() bool { return c.Placement.Probe.Kind == renewer.ProbeDocker }

// verdict of one check; the zero value: it does not apply.
type verdict struct {
	level     renewer.FindingLevel
	text, fix string
}

func fine(format string, a ...any) verdict {
	return verdict{level: renewer.FindingOK, text: fmt.Sprintf(format, a...)}
}

func bad(fix, format string, a ...any) verdict {
	return verdict{level: renewer.FindingFail, text: fmt.Sprintf(format, a...), fix: fix}
}

func warn(fix, format string, a ...any) verdict {
	return verdict{level: renewer.FindingWarn, text: fmt.Sprintf(format, a...), fix: fix}
}

func unknown(fix, format string, a ...any) verdict {
	return verdict{level: renewer.FindingUnknown, text: fmt.Sprintf(format, a...), fix: fix}
}

// placing is the way to have the files in place and used: on a Docker host that
// is not set up they are of no use alone.
func (c Case) placing() string {
	if c.docker() {
		if plan, err := Plan(c.Facts, c.Placement); err != nil || !plan.Empty() {
			return "renewer host setup " + c.Placement.Host
		}
	}
	return "renewer renew " + c.Placement.Certificate
}

// foreign reports whether a certificate is in place that this inventory knows
// nothing of.
func (c Case) foreign() bool { return !c.Placed && c.Facts.Disk.Leaf != "" }

// Foreign says what to do about a certificate in place that the inventory knows
// nothing of.
func Foreign(p renewer.Placement) string {
	return fmt.Sprintf("renewer adopt %s --certificate %s adopts it unchanged, if its CA is the issuer of the entry (renewer ca import imports a CA that openssl made); "+
		"renewer renew %s replaces it, and its clients then need the root of the entry's issuer", p.Host, p.Certificate, p.Certificate)
}

type check struct {
	name string
	look func(Case) verdict
}

// checks, in the order in which causes come before their effects. Those of
// onHost are made only if it could be looked at.
var (
	reaching = []check{{"reach", reach}, {"sudo", sudo}}
	onHost   = []check{
		{"clock", clock},
		{"files", files},
		{"file-modes", fileModes},
		{"disk", disk},
		{"single-file-mount", singleMounts},
		{"container-key", containerKey},
		{"environment", environment},
		{"docker-unit", dockerUnit},
		{"start-limit", startLimit},
		{"host-conflict", hostConflict},
		{"daemon-config", daemonConfig},
		{"live-restore", liveRestore},
		{"connection-refused", refused},
		{"firewall", firewall},
	}
	onPort = []check{
		{"expiry", expiry},
		{"usage", usage},
		{"san-mismatch", sanMismatch},
		{"chain", chainHolds},
		{"unknown-authority", unknownAuthority},
		{"timeout", timeout},
		{"client-refused", clientRefused},
		{"served", servedRight},
	}
)

// Diagnose makes every check that applies to a placement, good results too.
func Diagnose(c Case) []renewer.Finding {
	list := slices.Clone(reaching)
	if c.Err == nil {
		list = append(list, onHost...)
	}
	found := []renewer.Finding{}
	for _, ch := range append(list, onPort...) {
		if v := ch.look(c); v.level != "" {
			found = append(found, renewer.Finding{
				Check: ch.name, Host: c.Placement.Host, Certificate: c.Placement.Certificate,
				Level: v.level, Text: v.text, Fix: v.fix,
			})
		}
	}
	return found
}
