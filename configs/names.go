package configs

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/idna"

	"renewer/internal/pattern"
)

// The forms of names. Names become parts of paths and of arguments, so none
// begins with a dot or a dash or holds a slash.
var (
	certificateName = pattern.New(`^[a-z0-9][a-z0-9._-]*$`)
	fullName        = pattern.New(`^[a-z0-9][a-z0-9._-]*(@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$`)
	plainName       = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	hostName        = pattern.New(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	accountName     = pattern.New(`^([A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]{1,10})$`)
	unitName        = pattern.New(`^[A-Za-z0-9:_.\\@{}][A-Za-z0-9:_.\\@{}-]*\.(service|socket|target|timer|path|mount|slice)$`)
	containerName   = pattern.New(`^[A-Za-z0-9{][A-Za-z0-9_.{}-]*$`)
	fingerprintForm = pattern.New(`^[0-9A-Fa-f]{64}$`)
	placeholderForm = pattern.New(`\{[A-Za-z_]+\}`)
)

// longestName keeps NAME@HOST within the 255 bytes of a file's name (Linux,
// NAME_MAX), with room for what is added while a file is written.
const longestName = 200

const (
	aName            = "a name of letters, digits, '.', '_' and '-' that begins with a letter or digit"
	aCertificateName = "a name of lower-case letters, digits, '.', '_' and '-' that begins with a letter or digit"
	aHostName        = "a name of letters, digits, '.' and '-' that begins and ends with a letter or digit"
	anAddress        = "an IP address or a DNS name, without a port"
	aHostPort        = "host:port, such as 10.0.1.2:2376"
	aPath            = "an absolute path without '..'"
)

func named(form *pattern.Pattern, expected string) reader {
	return textLike(expected, func(s string) bool { return len(s) <= longestName && form.MatchString(s) })
}

// account reads a user or group; a bare number is one too.
func account(l *loader, at pos, n *yaml.Node) (any, bool) {
	const expected = "the name or number of an account"
	s, ok := l.scalar(at, n, expected, "!!str", "!!int")
	if ok && !accountName.MatchString(s) {
		l.fault(at, l.what()+" is "+quote(s), "expected "+expected)
		ok = false
	}
	return s, ok
}

// parseIP reads an IP address without a zone. What cannot be one is seen at its
// last byte: an error costs more than most names.
func parseIP(s string) (netip.Addr, bool) {
	if s == "" || !isDigit(s[len(s)-1]) && !strings.Contains(s, ":") {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == ""
}

func isIP(s string) bool {
	_, ok := parseIP(s)
	return ok
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWord(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

// isDNSName accepts what a certificate can carry and a client will match:
// RFC 5280 section 4.2.1.6 with the underscore that compose services have.
// A name that ends in a number is an IP address with a slip in it.
func isDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	rest, label, more := s, "", true
	for more {
		label, rest, more = strings.Cut(rest, ".")
		if len(label) == 0 || len(label) > 63 || !isWord(label[0]) || !isWord(label[len(label)-1]) {
			return false
		}
		for i := range len(label) {
			if !isWord(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return len(label) == len(s) || strings.Trim(label, "0123456789") != ""
}

// meantName returns the name that is meant where people write it in another
// form; empty where it is not known.
func meantName(s string, check func(string) bool) string {
	s = strings.TrimSpace(s)
	for _, prefix := range []string{"DNS:", "IP:", "IP Address:"} { // as openssl writes it
		s = strings.TrimPrefix(s, prefix)
	}
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		s = u.Host
	}
	forms := []string{s, strings.TrimSuffix(s, ".")}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		forms = append(forms, strings.TrimSuffix(inner, "]"))
	}
	if host, port, err := net.SplitHostPort(s); err == nil {
		forms = append(forms, net.JoinHostPort(asASCII(host), port), host, asASCII(host))
	}
	ip, _, _ := strings.Cut(s, "%") // without the zone
	if a, _, ok := strings.Cut(s, "/"); ok && isIP(a) {
		ip = a // without the length of a network
	}
	for _, form := range append(forms, ip, asASCII(s), strings.ToLower(s)) {
		if form != "" && check(form) {
			return form
		}
	}
	return ""
}

// asASCII writes a name of any script as DNS has it (RFC 5891).
func asASCII(s string) string {
	wildcard := strings.HasPrefix(s, "*.")
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.TrimPrefix(s, "*."), "."))
	if err != nil {
		return ""
	}
	if wildcard {
		name = "*." + name
	}
	return name
}

// isSAN accepts an IP address or a DNS name, with a wildcard as its first label.
func isSAN(s string) bool { return isIP(s) || isDNSName(strings.TrimPrefix(s, "*.")) && s != "*" }

func isAddress(s string) bool { return isIP(s) || isDNSName(s) }

// isHostPort accepts an address to dial, or to listen on with port 0.
func isHostPort(s string, leastPort int) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return false
	}
	host, port := s[:i], s[i+1:]
	if p, err := strconv.Atoi(port); err != nil || p < leastPort || p > 65535 || strconv.Itoa(p) != port {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6()
	}
	return isDNSName(host) || isIP(host) && !strings.Contains(host, ":")
}

func isPath(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == strings.TrimSuffix(s, "/") || s == "/"
}

// pathOf reads a path of this machine or of a host. With expand it is a file
// of this machine that may hold a secret: ${CREDENTIALS_DIRECTORY} is
// replaced, and the value is never shown, lest it be the secret itself.
func pathOf(expand bool) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		s, ok := l.scalar(at, n, aPath, "!!str")
		if !ok {
			return nil, false
		}
		if expand {
			if s, ok = l.expandCredentials(at, s); !ok {
				return nil, false
			}
		}
		if l.reading && expand && strings.HasPrefix(s, credentials) {
			return s, true
		}
		if !isPath(s) || strings.ContainsAny(s, "$\n\r\t") {
			what := l.what() + " is " + quote(s)
			if expand {
				what = l.what() + " is not a usable path"
			}
			l.fault(at, what, "expected "+aPath+", '~' or variable")
			return nil, false
		}
		if s != "/" {
			s = strings.TrimSuffix(s, "/")
		}
		return s, true
	}
}

const credentials = "${CREDENTIALS_DIRECTORY}"

func (l *loader) expandCredentials(at pos, s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, credentials)
	if !ok {
		return s, true
	}
	dir, _ := l.getenv("CREDENTIALS_DIRECTORY")
	switch {
	case dir == "" && l.reading && isPath(rest):
		return s, true
	case dir == "":
		l.fault(at, l.what()+" uses CREDENTIALS_DIRECTORY, which is not set",
			"expected to be started by a systemd unit with LoadCredential=, or with the variable set")
		return "", false
	}
	return path.Clean(dir) + rest, true
}

// isBaseName accepts the name of one file in a placement's directory.
func isBaseName(s string) bool {
	return s != "." && s != ".." && !strings.Contains(s, "/") && !strings.HasPrefix(s, ".renewer") && len(s) <= longestName
}

// hasPlaceholder reports whether text has a word in braces.
func hasPlaceholder(s string) bool {
	for {
		_, rest, ok := strings.Cut(s, "{")
		if !ok {
			return false
		}
		s = strings.TrimLeft(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
		if len(s) < len(rest) && strings.HasPrefix(s, "}") {
			return true
		}
	}
}

// template reads text in which {host} and {address} are replaced later; a
// value that holds neither has to pass the check at once.
func template(expected string, check func(string) bool, also ...string) reader {
	read := textLike(expected, func(s string) bool { return hasPlaceholder(s) || check(s) })
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		v, ok := read(l, at, n)
		if !ok {
			return nil, false
		}
		if !hasPlaceholder(v.(string)) {
			return v, true
		}
		for _, p := range placeholderForm.Regexp().FindAllString(v.(string), -1) {
			if p != "{host}" && p != "{address}" && !slices.Contains(also, p) {
				l.fault(at, l.what()+" has the unknown placeholder "+quote(p), "expected {host} or {address}")
				ok = false
			}
		}
		return v, ok
	}
}
