package inventory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

// Keys sort as bytes. A name ends with a zero byte wherever something follows
// it, so that no name is taken for the beginning of another.

const (
	timeSize = 12 // seconds, sign flipped, then nanoseconds; big endian
	maxName  = 1024
)

// noTime sorts after every time.
var noTime = bytes.Repeat([]byte{0xff}, timeSize)

// timeKey makes times sort as bytes; the zero time comes last.
func timeKey(t time.Time) []byte {
	if t.IsZero() {
		return noTime
	}
	b := make([]byte, timeSize)
	binary.BigEndian.PutUint64(b, uint64(t.Unix())^1<<63)
	binary.BigEndian.PutUint32(b[8:], uint32(t.Nanosecond()))
	return b
}

func timeOf(b []byte) (time.Time, error) {
	if len(b) < timeSize {
		return time.Time{}, errors.New("too short for a timestamp")
	}
	if bytes.Equal(b[:timeSize], noTime) {
		return time.Time{}, nil
	}
	sec, nsec := binary.BigEndian.Uint64(b)^1<<63, binary.BigEndian.Uint32(b[8:])
	return time.Unix(int64(sec), int64(nsec)).UTC(), nil
}

// atKey is the key of an index by time.
func atKey(at []byte, name string) []byte {
	return append(append(make([]byte, 0, timeSize+len(name)), at...), name...)
}

func nameKey(name string) []byte { return append([]byte(name), 0) }

// numberKey is the key of the nth thing of a name.
func numberKey(name string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(nameKey(name), n)
}

// splitNumberKey takes a numberKey apart.
func splitNumberKey(k []byte) (name string, n uint64, err error) {
	i := len(k) - 9
	if i < 1 || k[i] != 0 {
		return "", 0, errors.New("not a key of name and number")
	}
	return string(k[:i]), binary.BigEndian.Uint64(k[i+1:]), nil
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: a certificate without a name", ErrInvalid)
	case len(name) > maxName:
		return fmt.Errorf("%w: a name of %d bytes; the longest has %d", ErrInvalid, len(name), maxName)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: a NUL byte in the name %q", ErrInvalid, name)
	}
	return nil
}

// rolloutNumber returns N of a rollout's ID, NAME#N.
func rolloutNumber(r *renewer.Rollout) (uint64, error) {
	digits, ok := strings.CutPrefix(r.ID, r.Certificate+"#")
	n, err := strconv.ParseUint(digits, 10, 63)
	if !ok || err != nil {
		return 0, fmt.Errorf("%w: rollout %q does not belong to certificate %s", ErrInvalid, r.ID, r.Certificate)
	}
	return n, nil
}

// rolloutCertificate returns NAME of a rollout's ID, NAME#N.
func rolloutCertificate(id string) string {
	if i := strings.LastIndexByte(id, '#'); i > 0 {
		return id[:i]
	}
	return id
}
