package daemon

import (
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// A name that a client dials, and that the next certificate of the coordinator drops, is
// a reason to wait; a name that nothing covers today is none.
func TestANameThatIsDialledIsNotDropped(t *testing.T) {
	t.Parallel()
	live := testpki.New(t).Leaf(t, testpki.Options{SANs: []string{"dagu.example.com", "old.example.com", "10.0.1.2"}}).Cert
	server := func(sans ...string) renewer.Certificate {
		return renewer.Certificate{Name: "coordinator", Entry: "coordinator", SANs: sans}
	}
	for name, tc := range map[string]struct {
		c      renewer.Certificate
		others []renewer.Certificate
		dials  []dialled
		says   string
	}{
		"all stay":                      {server("dagu.example.com", "old.example.com", "10.0.1.2"), nil, []dialled{{"dagu.example.com", "w"}, {"10.0.1.2", "w"}}, ""},
		"one goes that no peer dials":   {server("dagu.example.com"), nil, []dialled{{"dagu.example.com", "w"}}, ""},
		"one goes that is dialled":      {server("dagu.example.com"), nil, []dialled{{"old.example.com", "dagu-worker.service on host-c"}}, "it dials old.example.com, which coordinator would not cover"},
		"an address goes":               {server("dagu.example.com"), nil, []dialled{{"10.0.1.2", "w"}}, "it dials 10.0.1.2"},
		"another coordinator covers it": {server("dagu.example.com"), []renewer.Certificate{server("*.example.com")}, []dialled{{"old.example.com", "w"}}, ""},
		"it is refused today":           {server("dagu.example.com"), nil, []dialled{{"wrong.example.com", "w"}}, ""},
	} {
		got := dropped(tc.c, live, tc.others, tc.dials)
		if (len(got) == 0) != (tc.says == "") || len(got) > 0 && (!strings.Contains(got[0].Text, tc.says) || got[0].Fix == "" || got[0].Unit != tc.dials[0].by) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := dropped(server(), nil, nil, []dialled{{"dagu.example.com", "w"}}); len(got) > 0 {
		t.Errorf("a first placement: %+v", got)
	}
}
