package remote

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // hashed names of known_hosts(5) are HMAC-SHA1
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is a known_hosts file, as far as it is understood.
type knownHosts struct {
	lines   []knownLine
	revoked map[string]int // lines with @revoked, by the bytes of the key, whatever host they name
	skipped []skippedLine
	name    string // of the file, or of what printed it
}

// knownLine has a key, or with authority that of an SSH authority, for hosts.
type knownLine struct {
	hosts     string // as the file has them
	authority bool
	key       knownhosts.KnownKey
}

// skippedLine is not understood. As in ssh(1), it says nothing about any host
// and takes nothing from what the other lines say.
type skippedLine struct {
	at      int
	revokes bool // it has the mark @revoked, and which key that is for is unknown
	why     error
}

// readKnownHosts reads a file as sshd(8) describes it under SSH_KNOWN_HOSTS
// FILE FORMAT. Lines that other programs left unfinished, or that an older
// OpenSSH wrote, are skipped and reported once, each time the file has changed.
func (c *Client) readKnownHosts(file string) (*knownHosts, error) {
	f, err := openFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k, err := parseKnownHosts(io.LimitReader(f, fileLimit), file)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	c.tellSkipped(k)
	return k, nil
}

func (c *Client) tellSkipped(k *knownHosts) {
	for _, s := range k.skipped {
		c.Log.Warn("known_hosts line ignored: "+s.what(), "line", fmt.Sprintf("%s:%d", k.name, s.at), "error", s.why)
	}
}

func (s skippedLine) what() string {
	if s.revokes {
		return "the revoked key cannot be parsed"
	}
	return "it cannot be parsed"
}

// readRevoked reads the file of RevokedHostKeys, if it has keys as text, one a line.
func (c *Client) readRevoked(file string) (*knownHosts, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte("SSHKRL\n")) {
		return nil, errors.New("binary key revocation lists are not supported")
	}
	k := &knownHosts{revoked: map[string]int{}, name: file}
	for n, line := range bytes.Split(data, []byte("\n")) {
		if fields := bytes.Fields(line); len(fields) > 0 && fields[0][0] != '#' {
			k.add(append([]byte("@revoked "), line...), n+1)
		}
	}
	c.tellSkipped(k)
	return k, nil
}

func parseKnownHosts(r io.Reader, name string) (*knownHosts, error) {
	k := &knownHosts{revoked: map[string]int{}, name: name}
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		if n == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		k.add(text, n)
		if errors.Is(err, io.EOF) {
			return k, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// add takes one line in. A key that is revoked needs no more than its bytes:
// neither its type nor the names in front of it have to be understood.
func (k *knownHosts) add(text []byte, at int) {
	fields := strings.Fields(string(text))
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return
	}
	mark := ""
	if strings.HasPrefix(fields[0], "@") {
		mark, fields = strings.ToLower(fields[0]), fields[1:]
	}
	if mark == "@revoked" {
		found := false
		for _, f := range fields {
			if blob, err := base64.StdEncoding.DecodeString(f); err == nil && len(blob) > minKey {
				k.revoked[string(blob)], found = at, true
			}
		}
		if !found {
			k.skipped = append(k.skipped, skippedLine{at, true, errNoKey})
		}
		return
	}
	key, err := knownKey(fields)
	if mark != "" && mark != "@cert-authority" {
		err = fmt.Errorf("unknown marker %s", mark)
	}
	if err != nil {
		k.skipped = append(k.skipped, skippedLine{at, false, err})
		return
	}
	k.lines = append(k.lines, knownLine{fields[0], mark != "", knownhosts.KnownKey{Key: key, Filename: k.name, Line: at}})
}

// minKey is less than the bytes of any key: a name or a comment may look like base64.
const minKey = 32

var errNoKey = errors.New("it has no complete key")

// knownKey is the key behind the names of a line.
func knownKey(fields []string) (ssh.PublicKey, error) {
	if len(fields) < 3 {
		return nil, errNoKey
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return nil, errNoKey
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, err
	}
	if key.Type() != fields[1] {
		return nil, fmt.Errorf("it labels a key of type %s as %s", key.Type(), fields[1])
	}
	return key, nil
}

// names reports whether the line is about a host, under the name that ssh(1)
// looks up: host, or [host]:port for another port than 22.
func (l *knownLine) names(host string) bool {
	if rest, ok := strings.CutPrefix(l.hosts, "|1|"); ok {
		salt, sum, _ := strings.Cut(rest, "|")
		salted, err := base64.StdEncoding.DecodeString(salt)
		want, err2 := base64.StdEncoding.DecodeString(sum)
		if err != nil || err2 != nil {
			return false
		}
		mac := hmac.New(sha1.New, salted)
		mac.Write([]byte(host))
		return hmac.Equal(mac.Sum(nil), want)
	}
	return matchList(strings.Split(l.hosts, ","), host)
}

// matchList is matches for names of hosts, which are the same in capitals.
func matchList(patterns []string, s string) bool {
	return matches(strings.Split(strings.ToLower(strings.Join(patterns, ",")), ","), strings.ToLower(s))
}

// matches reports whether one of patterns, as ssh_config(5) has them, does, and none
// with an exclamation mark.
func matches(patterns []string, s string) bool {
	found := false
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		if p != "" && wildcard(p, s) {
			if not {
				return false
			}
			found = true
		}
	}
	return found
}

// wildcard: * is any text and ? one byte. It takes time in proportion to the
// product of the lengths, whatever the pattern.
func wildcard(pattern, s string) bool {
	star, from := -1, 0 // the last * and where what it stands for ends
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
