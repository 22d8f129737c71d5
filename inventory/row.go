package inventory

import (
	"encoding/binary"
	"errors"
	"time"

	"renewer/renewer"
)

// The columns of a row are written one after another: text and lists with
// their length in front (an unsigned varint), a number as a varint, a time as
// its seconds and nanoseconds, or as a single 0. The first byte is the version
// of this layout. It is several times faster to read than JSON, because
// every column is a part of the text that is read.
const rowVersion = 1

var errRow = errors.New("not a row")

// encodeRow writes the columns. Times come back in UTC, and empty lists as
// such, never nil.
func encodeRow(r renewer.Row) []byte {
	w := rowWriter(append(make([]byte, 0, 256), rowVersion))
	w.text(r.Name)
	w.text(r.Issuer)
	w.number(r.Generation)
	w.text(string(r.Status))
	w.text(r.Serial)
	w.text(r.Fingerprint)
	w.text(r.CommonName)
	w.length(len(r.SANs))
	for _, s := range r.SANs {
		w.text(s)
	}
	w.text(string(r.Key))
	w.time(r.NotBefore)
	w.time(r.NotAfter)
	w.time(r.RenewAt)
	w.length(len(r.Hosts))
	for _, h := range r.Hosts {
		w.text(h.Name)
		w.text(string(h.State))
		w.number(h.Generation)
		w.text(h.Served)
		w.time(h.ServedEnd)
		w.flag(h.Matches)
		w.time(h.VerifiedAt)
		w.text(h.Error)
	}
	return w
}

// decodeRow reads what encodeRow wrote; text in the row is a part of s.
func decodeRow(s string) (renewer.Row, error) {
	if s == "" || s[0] != rowVersion {
		return renewer.Row{}, errRow
	}
	d := rowReader{s: s[1:]}
	r := renewer.Row{
		Name: d.text(), Issuer: d.text(), Generation: d.number(), Status: renewer.Status(d.text()),
		Serial: d.text(), Fingerprint: d.text(), CommonName: d.text(),
	}
	r.SANs = make([]string, d.length(1))
	for i := range r.SANs {
		r.SANs[i] = d.text()
	}
	r.Key = renewer.KeyType(d.text())
	r.NotBefore, r.NotAfter, r.RenewAt = d.time(), d.time(), d.time()
	r.Hosts = make([]renewer.HostRow, d.length(8))
	for i := range r.Hosts {
		r.Hosts[i] = renewer.HostRow{
			Name: d.text(), State: renewer.HostState(d.text()), Generation: d.number(), Served: d.text(),
			ServedEnd: d.time(), Matches: d.flag(), VerifiedAt: d.time(), Error: d.text(),
		}
	}
	if d.bad || d.s != "" {
		return renewer.Row{}, errRow
	}
	return r, nil
}

type rowWriter []byte

func (w *rowWriter) length(n int) { *w = binary.AppendUvarint(*w, uint64(n)) }
func (w *rowWriter) number(n int) { *w = binary.AppendVarint(*w, int64(n)) }

func (w *rowWriter) text(s string) {
	w.length(len(s))
	*w = append(*w, s...)
}

func (w *rowWriter) flag(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	*w = append(*w, b)
}

func (w *rowWriter) time(t time.Time) {
	w.flag(!t.IsZero())
	if !t.IsZero() {
		*w = binary.AppendVarint(*w, t.Unix())
		*w = binary.AppendUvarint(*w, uint64(t.Nanosecond()))
	}
}

// rowReader takes columns from the front of s. After the first bad one
// everything is zero.
type rowReader struct {
	s   string
	bad bool
}

func (d *rowReader) fail() {
	d.s, d.bad = "", true
}

func (d *rowReader) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

func (d *rowReader) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *rowReader) number() int { return int(d.varint()) }

// length reads how many items follow, each of at least size bytes, so that a
// damaged length cannot ask for much memory.
func (d *rowReader) length(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.s)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *rowReader) text() string {
	n := d.length(1)
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *rowReader) flag() bool {
	if d.s == "" || d.s[0] > 1 {
		d.fail()
		return false
	}
	v := d.s[0] == 1
	d.s = d.s[1:]
	return v
}

func (d *rowReader) time() time.Time {
	if !d.flag() {
		return time.Time{}
	}
	sec, nsec := d.varint(), d.uvarint()
	if nsec >= 1e9 {
		d.fail()
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}
