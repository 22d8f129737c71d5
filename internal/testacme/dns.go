package testacme

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// TSIG key of the DNS server.
const (
	TSIGName   = "renewer-key."
	TSIGSecret = "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5LTMyLWJ5dGVz"
)

// DNS is an authoritative server of every name, over UDP and TCP: each leads to one
// loopback address that only this server has, and TXT records are those that were set, or added by updates (RFC 2136)
// that are signed with the key.
type DNS struct {
	Address string
	IP      net.IP
	Zone    string // that takes updates

	mu      sync.Mutex
	txt     map[string][]string
	updates int
	refuse  bool
}

// StartDNS runs one until the test ends.
func StartDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{Zone: "example.com.", txt: map[string][]string{}, IP: net.IPv4(127, byte(1+rand.IntN(250)), byte(rand.IntN(250)), byte(1+rand.IntN(250)))}
	udp, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", net.JoinHostPort(d.IP.String(), "0"))
	must(t, err)
	d.Address = udp.LocalAddr().String()
	tcp, err := new(net.ListenConfig).Listen(context.Background(), "tcp", d.Address)
	must(t, err)
	secrets := map[string]string{TSIGName: TSIGSecret}
	var all sync.WaitGroup
	var servers []*dns.Server
	for _, s := range []*dns.Server{
		{PacketConn: udp, Handler: d, TsigSecret: secrets, MsgAcceptFunc: accept},
		{Listener: tcp, Handler: d, TsigSecret: secrets, MsgAcceptFunc: accept},
	} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		all.Go(func() { _ = s.ActivateAndServe() })
		<-started
		servers = append(servers, s)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			_ = s.Shutdown()
		}
		all.Wait()
	})
	return d
}

// accept takes updates too, which the library refuses by itself.
func accept(h dns.Header) dns.MsgAcceptAction {
	if opcode := int(h.Bits>>11) & 0xf; opcode == dns.OpcodeUpdate {
		return dns.MsgAccept
	}
	return dns.DefaultMsgAcceptFunc(h)
}

// Set sets the TXT records of a name.
func (d *DNS) Set(name string, values ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.txt[fqdn(name)] = values
}

// TXT returns the TXT records of a name.
func (d *DNS) TXT(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.txt[fqdn(name)]...)
}

// Records is how many TXT records there are, and Updates how many updates were taken.
func (d *DNS) Records() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.txt {
		n += len(v)
	}
	return n
}

// Updates is how many updates were taken.
func (d *DNS) Updates() int { d.mu.Lock(); defer d.mu.Unlock(); return d.updates }

// Refuse has updates refused, or not.
func (d *DNS) Refuse(yes bool) { d.mu.Lock(); defer d.mu.Unlock(); d.refuse = yes }

// Resolver asks this server.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.Address)
	}}
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	if r.Opcode == dns.OpcodeUpdate {
		m.Rcode = d.update(w, r)
		if t := r.IsTsig(); t != nil && w.TsigStatus() == nil {
			m.SetTsig(t.Hdr.Name, t.Algorithm, 300, int64(t.TimeSigned)) //nolint:gosec // a time
		}
		_ = w.WriteMsg(m)
		return
	}
	q := r.Question[0]
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch q.Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: head, A: d.IP})
	case dns.TypeTXT:
		for _, v := range d.txt[fqdn(q.Name)] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head, Txt: split(v)})
		}
	}
	_ = w.WriteMsg(m)
}

// split makes strings of at most 255 bytes.
func split(v string) (out []string) {
	for len(v) > 255 {
		out, v = append(out, v[:255]), v[255:]
	}
	return append(out, v)
}

// update applies an update of RFC 2136 to TXT records.
func (d *DNS) update(w dns.ResponseWriter, r *dns.Msg) int {
	switch {
	case d.refuse:
		return dns.RcodeRefused
	case r.IsTsig() == nil:
		return dns.RcodeRefused
	case w.TsigStatus() != nil:
		return dns.RcodeNotAuth
	case len(r.Question) != 1 || fqdn(r.Question[0].Name) != d.Zone:
		return dns.RcodeNotZone
	}
	d.updates++
	for _, rr := range r.Ns {
		name, txt := fqdn(rr.Header().Name), ""
		if t, ok := rr.(*dns.TXT); ok {
			txt = strings.Join(t.Txt, "")
		}
		if !dns.IsSubDomain(d.Zone, name) {
			return dns.RcodeNotZone
		}
		switch rr.Header().Class {
		case dns.ClassINET:
			d.txt[name] = append(d.txt[name], txt)
		case dns.ClassNONE:
			var left []string
			for _, v := range d.txt[name] {
				if v != txt {
					left = append(left, v)
				}
			}
			d.txt[name] = left
		case dns.ClassANY:
			delete(d.txt, name)
		}
	}
	return dns.RcodeSuccess
}
