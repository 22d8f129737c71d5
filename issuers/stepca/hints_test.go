package stepca_test

import (
	"strings"
	"testing"
	"time"

	"renewer/internal/teststepca"
	"renewer/issuers/stepca"
	"renewer/renewer"
)

// The hint for each misconfiguration is what fixes it.
func TestHintsFixWhatIsWrong(t *testing.T) {
	t.Parallel()
	logIn := func(i *stepca.Issuer) error { return i.LogIn(t.Context()) }
	lasting := func(d time.Duration) func(i *stepca.Issuer) error {
		return func(i *stepca.Issuer) error {
			o := orderFor(newKey(t))
			o.Lifetime = d
			_, err := i.Sign(t.Context(), o)
			return err
		}
	}
	for name, c := range map[string]struct {
		options    teststepca.Options
		at, answer string
		do         func(i *stepca.Issuer) error
		class      renewer.Class
		says, hint string
	}{
		"the intermediate expired": {
			options: teststepca.Options{IntermediateLife: -time.Minute}, do: logIn,
			class: mis, says: "the CA's intermediate CN=Test step Intermediate expired at 20",
			hint: `step certificate create "Test step Intermediate"`,
		},
		"longer than the provisioner allows": {
			options: teststepca.Options{MaxLifetime: 24 * time.Hour}, do: lasting(90 * 24 * time.Hour),
			class: refused, says: "authorized maximum", hint: "set lifetime: 24h, or raise maxTLSCertDuration of provisioner renewer",
		},
		"longer than an hour and a half": {
			options: teststepca.Options{MaxLifetime: 90 * time.Minute}, do: lasting(2 * time.Hour),
			class: refused, says: "authorized maximum", hint: "set lifetime: 1h,",
		},
		"a CA for ACME alone": {
			at: "/provisioners", answer: `{"provisioners":[{"type":"ACME","name":"acme"},{"type":"ACME","name":"acme-da"}]}`, do: logIn,
			class: mis, says: "has no provisioner renewer", hint: "provisioners of type ACME only, but renewer needs JWK or X5C; on the CA: step ca provisioner add",
		},
		"a provisioner of another name": {
			at: "/provisioners", answer: `{"provisioners":[{"type":"JWK","name":"ops","key":{"kid":"k"},"encryptedKey":"x"},{"type":"ACME","name":"acme"}]}`, do: logIn,
			class: mis, says: "has no provisioner renewer", hint: "ops (JWK)",
		},
		"no provisioner": {
			at: "/provisioners", answer: `{"provisioners":[]}`, do: logIn,
			class: mis, says: "has no provisioner renewer", hint: "step ca provisioner add renewer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var i *stepca.Issuer
			if c.at != "" {
				i = behind(t, front(t, shared, at(c.at, answers(200, "application/json", c.answer))))
			} else {
				i = open(t, configOf(start(t, c.options)))
			}
			err := c.do(i)
			if renewer.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) || !strings.Contains(renewer.Hint(err), c.hint) {
				t.Errorf("%s: %v\nhint: %s", renewer.ClassOf(err), err, renewer.Hint(err))
			}
		})
	}
}

// The lifetime that a hint names is signed.
func TestTheHintedLifetimeIsSigned(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(start(t, teststepca.Options{MaxLifetime: 24 * time.Hour})))
	o := orderFor(newKey(t))
	o.Lifetime = 24 * time.Hour
	sign(t, i, o)
}

// A provisioner's own limit is known after a login; that of the whole CA is not shown.
func TestTheProvisionersOwnLimitIsKnown(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(start(t, teststepca.Options{OwnLimit: 48 * time.Hour})))
	must(t, i.LogIn(t.Context()))
	if l, known := i.Longest(); !known || l.Longest != 48*time.Hour || !l.Refuses || !strings.Contains(l.Raise, "provisioner update renewer --x509-max-dur LIFETIME") {
		t.Errorf("%+v, %v", l, known)
	}
	i = open(t, configOf(shared))
	must(t, i.LogIn(t.Context()))
	if l, known := i.Longest(); known {
		t.Errorf("%+v", l)
	}
}
