package acme

import (
	"context"
	"fmt"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// execSolver has a command make and remove the records of dns-01, as other ACME clients
// do: ARGV present|cleanup NAME VALUE. It returns when the record can be seen.
type execSolver struct {
	argv []string
	run  Run
}

func (*execSolver) kind() string { return DNS01 }

func (s *execSolver) hint(c challenge) string {
	return "does " + s.argv[0] + " must not return before every name server of the zone has the record: dig TXT " + c.DNS01TXTRecordName()
}

func (s *execSolver) call(ctx context.Context, what string, c challenge) error {
	argv := append(append([]string(nil), s.argv...), what, c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization())
	out, err := s.run(ctx, argv)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	said := clean(string(out))
	if strings.Contains(said, "PRIVATE KEY") {
		said = "its output contains a private key and is not shown"
	}
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return retry(validationPause, "run by hand: "+strings.Join(s.argv, " ")+" "+what+" "+c.DNS01TXTRecordName()+". test", "%w", err)
}

func (s *execSolver) present(ctx context.Context, c challenge) error {
	return s.call(ctx, "present", c)
}

func (s *execSolver) cleanUp(ctx context.Context, c challenge) error {
	return s.call(ctx, "cleanup", c)
}

func (s *execSolver) check(context.Context) error {
	if err := executable(s.argv[0]); err != nil {
		return misconfigured("give the full path of a program that renewer's user can execute", "the command of dns-01: %w", err)
	}
	return nil
}

// persistSolver is dns-persist-01 (draft-ietf-acme-dns-persist): a record that stays says
// which account may have certificates. Nothing is to be done for an order.
type persistSolver struct{}

func (persistSolver) kind() string                             { return DNSPersist01 }
func (persistSolver) present(context.Context, challenge) error { return nil }
func (persistSolver) cleanUp(context.Context, challenge) error { return nil }
func (persistSolver) check(context.Context) error              { return nil }

func (persistSolver) hint(c challenge) string {
	if len(c.IssuerDomainNames) == 0 {
		return "print the required TXT record: renewer check --online"
	}
	return "this DNS record is required: " + record(c).String()
}

// Record is a TXT record that has to be there, and stays.
type Record struct{ Name, Value string }

// String writes it as a zone file has it.
func (r Record) String() string { return fmt.Sprintf("%s IN TXT %q", r.Name, r.Value) }

func record(c challenge) Record {
	return Record{c.DNSPersist01TXTRecordName() + ".", c.DNSPersist01TXTRecordValue(c.account, c.IssuerDomainNames[0], c.wildcard)}
}

// Persistent returns the records that dns-persist-01 needs for names, once there is an
// account; none for other challenges. One of a wildcard serves the name too.
func Persistent(cfg Config, names []string) (out []Record, err error) {
	if cfg.Challenge.Type != DNSPersist01 {
		return nil, nil
	}
	st, err := readState(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	a := st.Accounts[cfg.Directory]
	if a == nil || a.URL == "" || len(a.CAs) == 0 {
		return nil, nil
	}
	at := map[string]int{}
	for _, name := range names {
		base, wildcard := strings.CutPrefix(strings.ToLower(name), "*.")
		c := challenge{Challenge: acme.Challenge{Identifier: acme.Identifier{Type: "dns", Value: base}, IssuerDomainNames: a.CAs}, account: acme.Account{Location: a.URL}, wildcard: wildcard}
		k, known := at[base]
		switch {
		case !known:
			at[base], out = len(out), append(out, record(c))
		case wildcard:
			out[k] = record(c)
		}
	}
	return out, nil
}
