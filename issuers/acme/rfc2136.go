package acme

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// RFC2136 is a name server that takes signed updates of a zone.
type RFC2136 struct {
	Server   string // host:port
	Zone     string
	TSIGFile string
}

const (
	opcodeUpdate = 5
	recordTTL    = 60
	dnsTimeout   = 10 * time.Second
	// seenWithin is how long the other name servers of a zone may take to have a record.
	// What they have after that, the CA will say.
	seenWithin = 2 * time.Minute
)

// updateSolver makes and removes the records of dns-01 at a name server. The messages are
// those of x/net; what signs them is in tsig.go.
type updateSolver struct{ RFC2136 }

func (*updateSolver) kind() string { return DNS01 }

func (s *updateSolver) hint(c challenge) string {
	return "check that all name servers of " + s.Zone + " have the record of " + s.Server + ": dig NS " + s.Zone + "; dig TXT " + c.DNS01TXTRecordName()
}

// covers reports whether a name is of the zone.
func (s RFC2136) covers(name string) bool {
	zone := absolute(s.Zone)
	name = absolute(strings.TrimPrefix(name, "*."))
	return name == zone || strings.HasSuffix(name, "."+zone)
}

func (s *updateSolver) present(ctx context.Context, c challenge) error {
	name, value := c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization()
	if err := s.update(ctx, dnsmessage.ClassINET, name, value); err != nil {
		return err
	}
	return s.seen(ctx, name, value)
}

func (s *updateSolver) cleanUp(ctx context.Context, c challenge) error {
	return s.update(ctx, classNone, c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization())
}

// check removes a record that is not there.
func (s *updateSolver) check(ctx context.Context) error {
	return s.update(ctx, classNone, "_acme-challenge."+absolute(s.Zone), "renewer check")
}

// update adds a TXT record (class IN), or removes that very one (class NONE; RFC 2136,
// sections 2.5.1 and 2.5.4).
func (s *updateSolver) update(ctx context.Context, class dnsmessage.Class, name, value string) error {
	key, err := readTSIG(s.TSIGFile)
	if err != nil {
		return err
	}
	zone, err := dnsmessage.NewName(absolute(s.Zone))
	if err != nil {
		return err
	}
	of, err := dnsmessage.NewName(strings.ToLower(name))
	if err != nil {
		return err
	}
	head := dnsmessage.ResourceHeader{Name: of, Class: class}
	if class == dnsmessage.ClassINET {
		head.TTL = recordTTL
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: newID(), OpCode: opcodeUpdate})
	err = errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: zone, Type: dnsmessage.TypeSOA, Class: dnsmessage.ClassINET}),
		b.StartAuthorities(), b.TXTResource(head, dnsmessage.TXTResource{TXT: []string{value}}))
	if err != nil {
		return err
	}
	message, err := b.Finish()
	if err != nil {
		return err
	}
	signed, mac := key.sign(message, time.Now())
	answer, err := exchange(ctx, s.Server, signed)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return retry(time.Minute, "check that the name server is running, and that this machine can reach "+s.Server+" over TCP", "name server %s: %w", s.Server, err)
	}
	return s.judge(key, answer, mac)
}

// judge says what an answer to an update means.
func (s *updateSolver) judge(key tsigKey, answer, mac []byte) error {
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	if err != nil {
		return retry(time.Minute, "", "name server %s: read the answer: %w", s.Server, err)
	}
	code, signature := key.verify(answer, mac)
	why := map[uint16]string{16: "the signature is wrong: the secrets differ", 17: "it has no key " + key.name, 18: "the clocks differ by more than 5 minutes"}[code]
	switch {
	case why != "":
		return misconfigured("tsig_file of the challenge and the name server need the same key, and correct clocks", "name server %s refuses the TSIG key: %s", s.Server, why)
	case head.RCode == dnsmessage.RCodeServerFailure:
		return retry(time.Minute, "check the log of the name server", "name server %s: server failure", s.Server)
	case head.RCode != dnsmessage.RCodeSuccess:
		return misconfigured("allow on the name server that the key "+key.name+" updates TXT records of "+s.Zone+" (BIND: update-policy { grant "+key.name+" ... })",
			"name server %s refuses the update of zone %s: %s", s.Server, s.Zone, rcode(head.RCode))
	case signature != nil:
		return retry(time.Minute, "check for a proxy or firewall that answers instead of the name server", "name server %s: %w", s.Server, signature)
	}
	return nil
}

func rcode(c dnsmessage.RCode) string {
	if name := map[dnsmessage.RCode]string{5: "REFUSED", 9: "NOTAUTH", 10: "NOTZONE", 4: "NOTIMP", 1: "FORMERR", 6: "YXDOMAIN", 8: "NXRRSET"}[c]; name != "" {
		return name
	}
	return fmt.Sprintf("code %d", c)
}

// seen waits until the other name servers of the zone have a record too: a CA asks any
// of them. Those that cannot be reached from here are left out.
func (s *updateSolver) seen(ctx context.Context, name, value string) error {
	within, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	servers := s.others(within)
	for p := new(patience); len(servers) > 0; {
		servers = slices.DeleteFunc(servers, func(at string) bool {
			values, err := texts(within, at, name)
			return err != nil && ctx.Err() == nil || slices.Contains(values, value)
		})
		if len(servers) == 0 || p.pause(within, "the record is not visible yet") != nil {
			break
		}
	}
	return ctx.Err()
}

// others are the addresses of the name servers of the zone.
func (s *updateSolver) others(ctx context.Context) (out []string) {
	names, err := ask(ctx, s.Server, absolute(s.Zone), dnsmessage.TypeNS)
	if err != nil {
		return nil
	}
	for _, r := range names {
		if ns, ok := r.Body.(*dnsmessage.NSResource); ok {
			addresses, err := net.DefaultResolver.LookupHost(ctx, ns.NS.String())
			if err == nil && len(addresses) > 0 {
				out = append(out, net.JoinHostPort(addresses[0], "53"))
			}
		}
	}
	return out
}

func texts(ctx context.Context, server, name string) (out []string, err error) {
	records, err := ask(ctx, server, name, dnsmessage.TypeTXT)
	for _, r := range records {
		if t, ok := r.Body.(*dnsmessage.TXTResource); ok {
			out = append(out, strings.Join(t.TXT, ""))
		}
	}
	return out, err
}

// ask asks a name server for records.
func ask(ctx context.Context, server, name string, kind dnsmessage.Type) ([]dnsmessage.Resource, error) {
	of, err := dnsmessage.NewName(strings.ToLower(name))
	if err != nil {
		return nil, err
	}
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: newID()}, Questions: []dnsmessage.Question{{Name: of, Type: kind, Class: dnsmessage.ClassINET}}}
	text, err := q.Pack()
	if err != nil {
		return nil, err
	}
	answer, err := exchange(ctx, server, text)
	if err != nil {
		return nil, err
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		return nil, err
	}
	return m.Answers, nil
}

// exchange sends a message over TCP, and returns the answer.
func exchange(ctx context.Context, server string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
		return nil, err
	}
	size := make([]byte, 2)
	if _, err := io.ReadFull(conn, size); err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("incomplete answer: %w", err)
	}
	if len(answer) < 2 || answer[0] != message[0] || answer[1] != message[1] {
		return nil, errors.New("the answer does not match the query")
	}
	return answer, nil
}

func newID() uint16 {
	b := make([]byte, 2)
	_, _ = rand.Read(b) // never fails
	return binary.BigEndian.Uint16(b)
}
