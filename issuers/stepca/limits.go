package stepca

import (
	"fmt"
	"strings"
	"time"

	"renewer/renewer"
)

// backdate is by how much step-ca dates certificates back unless ca.json says
// otherwise. What it says of a maximum has that on top.
const backdate = time.Minute

// Longest returns the longest lifetime that the provisioner signs for, as the last
// login showed it: where the provisioner has a limit of its own.
func (i *Issuer) Longest() (l renewer.LifetimeLimit, known bool) {
	most := time.Duration(i.longest.Load())
	return renewer.LifetimeLimit{
		Longest: most, Refuses: true,
		Raise: "step ca provisioner update " + i.cfg.Provisioner + " --x509-max-dur LIFETIME, on the CA",
	}, most > 0
}

// refusalHint says how to fix an order that was refused with these words.
func (i *Issuer) refusalHint(words string) string {
	provisioner := i.cfg.Provisioner
	if most, ok := after(words, "more than the authorized maximum certificate duration of "); ok {
		return fmt.Sprintf("set lifetime: %s, or raise maxTLSCertDuration of provisioner %s", atMost(most-backdate), provisioner)
	}
	if least, ok := after(words, "less than the authorized minimum certificate duration of "); ok {
		return fmt.Sprintf("set lifetime: %s, or lower minTLSCertDuration of provisioner %s", atLeast(least), provisioner)
	}
	if strings.Contains(words, "provisioning credential") {
		return "set a lifetime that ends before x5c.cert expires, or put a certificate that expires later at " + i.cfg.X5CCert
	}
	return "change the entry, or what provisioner " + provisioner + " may sign"
}

// after is the duration behind a text.
func after(words, text string) (time.Duration, bool) {
	_, rest, found := strings.Cut(words, text)
	number, _, _ := strings.Cut(rest, " ")
	d, err := time.ParseDuration(strings.TrimRight(number, ".,;"))
	return d, found && err == nil
}

// atMost writes a lifetime as the fleet file has it: whole hours, if there is
// one, since the server may date back by more than backdate.
func atMost(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return fmt.Sprintf("%ds", max(d/time.Second, 1))
	}
}

func atLeast(d time.Duration) string {
	if d%time.Hour == 0 {
		return atMost(d)
	}
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}
