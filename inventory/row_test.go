package inventory

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/renewer"
)

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" zero") {
		return time.Time{}
	}
	sec := rapid.Int64Range(-1e11, 1e12).Draw(t, label)
	return time.Unix(sec, rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).UTC()
}

func drawRow(t *rapid.T) renewer.Row {
	text := func(label string) string { return rapid.String().Draw(t, label) }
	r := renewer.Row{
		Name: text("name"), Issuer: text("issuer"), Generation: rapid.Int().Draw(t, "generation"), Status: renewer.Status(text("status")),
		Serial: text("serial"), Fingerprint: text("fingerprint"), CommonName: text("cn"), Key: renewer.KeyType(text("key")),
		SANs:      append([]string{}, rapid.SliceOf(rapid.String()).Draw(t, "sans")...),
		NotBefore: drawTime(t, "not before"), NotAfter: drawTime(t, "not after"), RenewAt: drawTime(t, "renew at"),
		Hosts: []renewer.HostRow{},
	}
	for range rapid.IntRange(0, 4).Draw(t, "hosts") {
		r.Hosts = append(r.Hosts, renewer.HostRow{
			Name: text("host"), State: renewer.HostState(text("state")), Generation: rapid.Int().Draw(t, "host generation"),
			Served: text("served"), ServedEnd: drawTime(t, "served end"), Matches: rapid.Bool().Draw(t, "matches"),
			VerifiedAt: drawTime(t, "verified at"), Error: text("error"),
		})
	}
	return r
}

func TestRowRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := drawRow(t)
		b := string(encodeRow(want))
		got, err := decodeRow(b)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := decodeRow(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are taken for a row", cut, len(b))
		}
	})
}

// The columns must all be written: a field that is added to Row and forgotten
// here would silently be empty in every list.
func TestRowHasEveryColumn(t *testing.T) {
	t.Parallel()
	want := *rowOf(gen("docker", 3, day(90)), "host-a")
	want.Hosts[0].Error = "stale"
	got, err := decodeRow(string(encodeRow(want)))
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatalf("%v\n%s", err, d)
	}
	for _, v := range []any{want, want.Hosts[0]} {
		for _, name := range zeroFields(v) {
			t.Errorf("%T.%s is not covered by this test", v, name)
		}
	}
}

func TestTimesSortAsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTime(t, "a"), drawTime(t, "b")
		if got, err := timeOf(timeKey(a)); err != nil || !got.Equal(a) {
			t.Fatalf("%s comes back as %s (%v)", a, got, err)
		}
		want := a.Compare(b)
		if a.IsZero() != b.IsZero() { // no time comes last
			want = -1
			if a.IsZero() {
				want = 1
			}
		}
		if got := bytes.Compare(timeKey(a), timeKey(b)); got != want {
			t.Fatalf("%s and %s: %d, want %d", a, b, got, want)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(encodeRow(*rowOf(gen("docker", 3, day(90)), "host-a", "host-b")))
	f.Add(encodeRow(renewer.Row{}))
	f.Add([]byte{})
	f.Add([]byte{rowVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add(encodeRow(renewer.Row{Generation: math.MinInt, NotAfter: time.Unix(math.MaxInt64, 0)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(string(b))
		if err != nil {
			return
		}
		again, err := decodeRow(string(encodeRow(row)))
		if d := cmp.Diff(row, again); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
	})
}
