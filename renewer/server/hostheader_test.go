package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"renewer/internal/testfleet"
)

func TestHostHeaderIsOneOfThisServersNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, allowed, refused string
	}{
		{
			"127.0.0.1:9925",
			"127.0.0.1:9925 127.0.0.1 127.0.0.2:9925 [::1]:9925 [::1] [::ffff:127.0.0.1]:1 localhost localhost:9925 LOCALHOST. renewer.localhost renewer.example.com RENEWER.example.com.:9925 192.0.2.7:80",
			"evil.example evil.example:9925 10.0.0.1:9925 0.0.0.0 localhost.evil.example renewer.example.com.evil.example xrenewer.example.com 127.0.0.1.evil.example 2130706433 [2001:db8::1]",
		},
		{"0.0.0.0:9925", "127.0.0.1 10.0.0.1:9925 [2001:db8::1]:9925 localhost renewer.example.com", "evil.example host 010.0.0.1 10.0.0.1.example"},
		{"[::]:9925", "10.0.0.1:9925 [fe80::1%25eth0]:9925", "evil.example"},
		{":9925", "10.0.0.1:9925 [2001:db8::1]", "evil.example"},
		{"10.0.0.1:9925", "10.0.0.1 10.0.0.1:9925 127.0.0.1:9925 localhost", "10.0.0.2 evil.example"},
		{"[2001:db8::1]:9925", "[2001:db8:0::0001]:9925", "[2001:db8::2]:9925"},
		{"web.example.com:9925", "web.example.com:9925 web.example.com localhost", "example.com 10.0.0.1"},
	} {
		p := Port{Listen: c.listen, AllowedHosts: []string{"renewer.example.com", "192.0.2.7"}}
		for _, host := range strings.Fields(c.allowed) {
			if !p.allows(host) {
				t.Errorf("listening on %s, %s is refused", c.listen, host)
			}
		}
		for _, host := range strings.Fields(c.refused) {
			if p.allows(host) {
				t.Errorf("listening on %s, %s is allowed", c.listen, host)
			}
		}
	}
	if !(Port{Listen: "127.0.0.1:1"}).allows("") {
		t.Error("a request without a Host header, which no browser sends, is refused")
	}
}

// A page of evil.example whose name was made to point here learns nothing.
func TestOtherNamesLearnNothing(t *testing.T) {
	t.Parallel()
	st := &fakeState{last: time.Now()}
	s, _ := served(t, Options{
		Service: &fakeService{}, State: st, Metrics: NewMetrics("1", st), Pages: testfleet.EveryState(start), CheckWithin: time.Hour, CRL: lists,
		Port: Port{Listen: "127.0.0.1:0", AllowedHosts: []string{"renewer.example.com"}},
	})
	under := func(host, path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Close = host, true
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := new(strings.Builder)
		if _, err := bufio.NewReader(resp.Body).WriteTo(body); err != nil {
			t.Fatal(err)
		}
		secured(t, path, resp.Header)
		return resp.StatusCode, body.String()
	}
	for _, path := range everyRoute {
		status, body := under("evil.example:9925", path)
		if path == "/crl/fleet-ca" {
			if status != 200 {
				t.Errorf("%s: %d; relying parties ask for it by the name in certificates", path, status)
			}
			continue
		}
		if status != http.StatusMisdirectedRequest || !strings.Contains(body, `the host name "evil.example" is not allowed`) || !strings.Contains(body, "http: {allowed_hosts: [NAME]}") || strings.Contains(body, "docker@") {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, _ := under("renewer.example.com:9925", path); status == http.StatusMisdirectedRequest {
			t.Errorf("%s is refused under a name that is allowed", path)
		}
	}

	if status, body := under("evil.example", Prefix+"/status"); status != http.StatusMisdirectedRequest || !strings.HasPrefix(body, `{"title":"Misdirected Request","status":421,`) {
		t.Errorf("the API: %d %s", status, body)
	}

	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// In the absolute form the name in the request line is what counts (RFC 9112, 3.2.2).
	fmt.Fprint(c, "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "421") {
		t.Errorf("the absolute form: %q, %v", line, err)
	}
}
