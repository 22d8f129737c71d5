package local_test

import (
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
)

func TestPolicyLimitsNamesAndLifetime(t *testing.T) {
	t.Parallel()
	policy := local.Policy{MaxLifetime: 30 * 24 * time.Hour, Names: []string{"*.example.com", "host-*", "10.0.0.0/8", "fd00::/8", "192.0.2.7", "db.internal"}}
	cfg := config(t, "")
	cfg.Policy = policy
	a, err := local.Create(cfg, local.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	judge := local.Judge(cfg)
	empty := config(t, "")
	empty.Policy = policy
	early := local.Judge(empty) // before there is a CA
	for name, c := range map[string]struct {
		cn   string
		sans []string
		life time.Duration
		hint string // empty: it is signed
	}{
		"all of them":           {"host-b", []string{"host-b", "a.example.com", "a.b.example.com", "*.example.com", "10.1.2.3", "fd00::1", "192.0.2.7", "DB.internal"}, 30 * 24 * time.Hour, ""},
		"a name of no host":     {"renewer probe", nil, time.Hour, ""},
		"a name that none has":  {"renewer probe", []string{"renewer.invalid"}, time.Hour, ""},
		"too long":              {"host-b", nil, 90 * 24 * time.Hour, "set lifetime: 30d, or raise max_lifetime of issuer fleet-ca"},
		"another name":          {"host-b", []string{"evil.test"}, time.Hour, "add evil.test to allowed_names of issuer fleet-ca"},
		"the parent itself":     {"host-b", []string{"example.com"}, time.Hour, "add example.com"},
		"a parent's look-alike": {"host-b", []string{"notexample.com"}, time.Hour, "add notexample.com"},
		"below a host":          {"host-b", []string{"host-b.evil.test"}, time.Hour, "add host-b.evil.test"},
		"another address":       {"host-b", []string{"11.0.0.1"}, time.Hour, "add 11.0.0.1"},
		"another common name":   {"evil.test", []string{"host-b"}, time.Hour, "add evil.test"},
		"an address as name":    {"11.0.0.1", nil, time.Hour, "add 11.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := order(testpki.Key(t))
			o.CommonName, o.SANs, o.Lifetime = c.cn, c.sans, c.life
			_, err := a.Sign(t.Context(), o)
			judged := judge(o.Request)
			if c.hint == "" {
				if err != nil || judged != nil || early(o.Request) != nil {
					t.Errorf("%v; judged before: %v; %v", err, judged, early(o.Request))
				}
				return
			}
			for _, err := range []error{err, judged, early(o.Request)} {
				if renewer.ClassOf(err) != renewer.ClassRefused || !strings.Contains(renewer.Hint(err), c.hint) {
					t.Errorf("%v; hint %q", err, renewer.Hint(err))
				}
			}
		})
	}
}

// What the policy does not allow is named at once, all of it.
func TestPolicyNamesEveryFault(t *testing.T) {
	t.Parallel()
	cfg := config(t, "")
	cfg.Policy = local.Policy{MaxLifetime: time.Hour, Names: []string{"*.example.com"}}
	err := local.Judge(cfg)(renewer.Request{CommonName: "evil.test", SANs: []string{"a.test", "b.example.com", "10.0.0.1"}, Lifetime: 2 * time.Hour})
	for _, want := range []string{"it has a lifetime of 2h", "it has the common name evil.test, which looks like a host name", "it requests a.test, 10.0.0.1, which are not in allowed_names"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing: %v", want, err)
		}
	}
	if renewer.ClassOf(err) != renewer.ClassRefused || renewer.Hint(err) == "" {
		t.Errorf("class %s, hint %q", renewer.ClassOf(err), renewer.Hint(err))
	}
}
