package acme

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // some servers have keys for it alone
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"renewer/internal/atomicfile"
	"renewer/internal/pattern"
	"renewer/renewer"
)

// tsigKey signs messages to a name server (RFC 8945).
type tsigKey struct {
	name, algorithm string // in lower case, with a dot at the end
	secret          []byte
}

var hashes = map[string]func() hash.Hash{
	"hmac-sha1.": sha1.New, "hmac-sha224.": sha256.New224, "hmac-sha256.": sha256.New, "hmac-sha384.": sha512.New384, "hmac-sha512.": sha512.New,
}

const (
	typeTSIG  = 250
	classANY  = 255
	classNone = 254
	fudge     = 300 // seconds that clocks may differ
)

// keyForm is what tsig-keygen writes: key "NAME" { algorithm ALG; secret "BASE64"; };
var keyForm = pattern.New(`^\s*key\s+"?([^"\s{]+)"?\s*\{\s*algorithm\s+"?([^";\s]+)"?\s*;\s*secret\s+"?([^";\s]+)"?\s*;\s*\}\s*;?\s*$`)

// readTSIG reads a key as BIND's tools write it, or ALGORITHM:NAME:SECRET as dig -y has it.
func readTSIG(file string) (tsigKey, error) {
	const hint = "put the output of tsig-keygen -a hmac-sha256 NAME into tsig_file, and the same key into the name server"
	text, err := atomicfile.ReadSecret(file, 64<<10)
	if err != nil {
		return tsigKey{}, misconfigured(cmp.Or(renewer.Hint(err), hint), "read tsig_file: %w", err)
	}
	k, ok := parseTSIG(string(text))
	if !ok {
		return k, misconfigured(hint, "tsig_file %s has no TSIG key", file)
	}
	return k, nil
}

func parseTSIG(text string) (k tsigKey, ok bool) {
	var name, algorithm, secret string
	if m := keyForm.FindStringSubmatch(text); m != nil {
		name, algorithm, secret = m[1], m[2], m[3]
	} else if parts := strings.Split(strings.TrimSpace(text), ":"); len(parts) == 3 {
		algorithm, name, secret = parts[0], parts[1], parts[2]
	} else {
		return k, false
	}
	k = tsigKey{name: absolute(name), algorithm: absolute(algorithm)}
	var err error
	k.secret, err = base64.StdEncoding.DecodeString(secret)
	_, wireErr := wireName(k.name)
	return k, err == nil && wireErr == nil && len(k.secret) > 0 && hashes[k.algorithm] != nil
}

func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// wireName writes a name as messages have it, without compression.
func wireName(name string) ([]byte, error) {
	var out []byte
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return nil, fmt.Errorf("%q is not a DNS name", name)
		}
		out = append(append(out, byte(len(label))), label...)
	}
	if out = append(out, 0); len(out) > 255 {
		return nil, fmt.Errorf("%q is not a DNS name", name)
	}
	return out, nil
}

// mac signs a message; request is the MAC of the request that it answers, nil for none.
func (k tsigKey) mac(request, message, variables []byte) []byte {
	h := hmac.New(hashes[k.algorithm], k.secret)
	if request != nil {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(request))))
		h.Write(request)
	}
	h.Write(message)
	h.Write(variables)
	return h.Sum(nil)
}

// variables are what is signed beside the message (RFC 8945, section 4.3.3).
func (k tsigKey) variables(at []byte, fudge, code uint16, other []byte) []byte {
	name, _ := wireName(k.name)
	algorithm, _ := wireName(k.algorithm)
	out := binary.BigEndian.AppendUint16(name, classANY)
	out = append(binary.BigEndian.AppendUint32(out, 0), algorithm...)
	out = append(out, at...)
	for _, n := range []uint16{fudge, code, uint16(len(other))} {
		out = binary.BigEndian.AppendUint16(out, n)
	}
	return append(out, other...)
}

// sign adds the record with the signature to a message.
func (k tsigKey) sign(message []byte, now time.Time) (signed, mac []byte) {
	at := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))[2:]
	mac = k.mac(nil, message, k.variables(at, fudge, 0, nil))
	algorithm, _ := wireName(k.algorithm)
	data := append(slices.Clone(algorithm), at...)
	for _, n := range []uint16{fudge, uint16(len(mac))} {
		data = binary.BigEndian.AppendUint16(data, n)
	}
	data = append(append(data, mac...), message[:2]...) // the ID
	data = append(data, 0, 0, 0, 0)                     // no error, nothing else
	name, _ := wireName(k.name)
	signed = append(slices.Clone(message), name...)
	signed = binary.BigEndian.AppendUint16(signed, typeTSIG)
	signed = binary.BigEndian.AppendUint16(signed, classANY)
	signed = binary.BigEndian.AppendUint32(signed, 0)
	signed = binary.BigEndian.AppendUint16(signed, uint16(len(data)))
	signed = append(signed, data...)
	binary.BigEndian.PutUint16(signed[10:], binary.BigEndian.Uint16(signed[10:])+1)
	return signed, mac
}

var errUnsigned = errors.New("the answer is not signed with the TSIG key")

// verify holds an answer against the key: its last record signs what is before it.
// code is the error that the record has, whether it is signed or not.
func (k tsigKey) verify(answer, request []byte) (code uint16, err error) {
	at, err := lastRecord(answer)
	if err != nil {
		return 0, err
	}
	rest, err := skipName(answer, at)
	if err != nil || len(answer) < rest+10 || binary.BigEndian.Uint16(answer[rest:]) != typeTSIG {
		return 0, errUnsigned
	}
	end := rest + 10 + int(binary.BigEndian.Uint16(answer[rest+8:]))
	p, err := skipName(answer, rest+10)
	if err != nil || end != len(answer) || end < p+10 {
		return 0, errUnsigned
	}
	when, fuzz, size := answer[p:p+6], binary.BigEndian.Uint16(answer[p+6:]), int(binary.BigEndian.Uint16(answer[p+8:]))
	if end < p+10+size+6 {
		return 0, errUnsigned
	}
	mac, tail := answer[p+10:p+10+size], answer[p+10+size:]
	code = binary.BigEndian.Uint16(tail[2:])
	other := tail[6:]
	before := slices.Clone(answer[:at])
	copy(before, tail[:2]) // the original ID
	binary.BigEndian.PutUint16(before[10:], binary.BigEndian.Uint16(before[10:])-1)
	if !hmac.Equal(mac, k.mac(request, before, k.variables(when, fuzz, code, other))) {
		return code, errUnsigned
	}
	return code, nil
}

// lastRecord returns where the last record of a message begins.
func lastRecord(m []byte) (at int, err error) {
	if len(m) < 12 {
		return 0, errors.New("the answer is truncated")
	}
	p := 12
	for range binary.BigEndian.Uint16(m[4:]) {
		if p, err = skipName(m, p); err != nil {
			return 0, err
		}
		p += 4
	}
	records := int(binary.BigEndian.Uint16(m[6:])) + int(binary.BigEndian.Uint16(m[8:])) + int(binary.BigEndian.Uint16(m[10:]))
	if records == 0 || binary.BigEndian.Uint16(m[10:]) == 0 {
		return 0, errUnsigned
	}
	for range records {
		at = p
		if p, err = skipName(m, p); err != nil {
			return 0, err
		}
		if len(m) < p+10 {
			return 0, errors.New("the answer is truncated")
		}
		p += 10 + int(binary.BigEndian.Uint16(m[p+8:]))
	}
	return at, nil
}

// skipName returns what follows a name.
func skipName(m []byte, p int) (int, error) {
	for p < len(m) {
		switch n := int(m[p]); {
		case n == 0:
			return p + 1, nil
		case n >= 0xc0:
			return p + 2, nil
		default:
			p += 1 + n
		}
	}
	return 0, errors.New("the answer is truncated")
}
