package renewer

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Certificate is one desired certificate: one key, one leaf, and the hosts
// that get it. An entry of the fleet file with per_host gives several.
type Certificate struct {
	Name       string // unique, such as docker@host-b
	Entry      string // the entry's name in the fleet file, such as docker
	Issuer     string
	Profile    string
	CommonName string
	SANs       []string // DNS names and IP addresses, sorted, without duplicates
	Usages     []Usage
	Strict     bool // refuse names and usages that the issuer adds
	Key        KeyType
	Rekey      bool // a new key for every generation
	Lifetime   time.Duration
	Renewal    Renewal
	Trust      []string // issuers whose roots go into the ca file, and files of roots: see TrustFile
	// Settle is how long after placing a bundle counts as loaded where nothing is
	// activated: 0 is the default, less than 0 is at once. See SettleTime.
	Settle     time.Duration `json:",omitempty"`
	Placements []Placement
	Pace       Pace
	Window     string // name of a maintenance window, or empty
	// OverrideBefore is how long before expiry the window no longer counts.
	OverrideBefore time.Duration
	PeerGroup      string   // the certificates that authenticate each other
	Dials          []string // host:port that a client of the group connects to
	Position       string   // FILE:LINE:COLUMN of the entry, for messages
	// From is the name that the entry, or this certificate, had before: moved. It
	// changes nothing that is placed.
	From string `json:"-"`
}

// FormerNames are those that the certificate may have had, by what its entry says of
// itself (see From); the likeliest first.
func (c Certificate) FormerNames() []string {
	if c.From == "" {
		return nil
	}
	if _, host, perHost := strings.Cut(c.Name, "@"); perHost && !strings.Contains(c.From, "@") {
		return []string{c.From + "@" + host, c.From}
	}
	return []string{c.From}
}

// trustFile begins the name of a file of roots among the issuers of Trust. The
// name of an issuer has no colon.
const trustFile = "file:"

// TrustFile returns the name under which the roots in a file are trusted.
func TrustFile(path string) string { return trustFile + path }

// IsTrustFile returns the path of a file of roots that is named in Trust.
func IsTrustFile(name string) (path string, ok bool) { return strings.CutPrefix(name, trustFile) }

// IsBundle reports whether the entry is a trust bundle alone, with no
// certificate of its own: its generation is always 0.
func (c Certificate) IsBundle() bool { return len(c.Usages) == 0 }

// Placement returns the placement on the named host.
func (c Certificate) Placement(host string) (Placement, bool) {
	for _, p := range c.Placements {
		if p.Host == host {
			return p, true
		}
	}
	return Placement{}, false
}

// Usage is an extended key usage (RFC 5280, section 4.2.1.12).
type Usage string

// The usages that renewer asks for.
const (
	UsageServer Usage = "server" // id-kp-serverAuth
	UsageClient Usage = "client" // id-kp-clientAuth
)

// KeyType names an algorithm and its size.
type KeyType string

// The key types of the fleet file.
const (
	ECDSAP256 KeyType = "ecdsa-p256"
	ECDSAP384 KeyType = "ecdsa-p384"
	Ed25519   KeyType = "ed25519"
	RSA2048   KeyType = "rsa-2048"
	RSA3072   KeyType = "rsa-3072"
	RSA4096   KeyType = "rsa-4096"
)

// KeyTypes lists every key type, the default first.
var KeyTypes = []KeyType{ECDSAP256, ECDSAP384, Ed25519, RSA2048, RSA3072, RSA4096}

// Share is a part of a whole: 0.67 is written 67%.
type Share float64

func (s Share) String() string { return fmt.Sprintf("%g%%", float64(s)*100) }

// Renewal says when a certificate is renewed: at a share of its lifetime or,
// when Before is set, that long before its end. Jitter is a share of the
// lifetime too and only makes it earlier. So does Lead, which is what tolerate: asks
// for: see Certificate.Lead.
type Renewal struct {
	At     Share         `json:"at"`
	Before time.Duration `json:"before,omitempty"`
	Jitter Share         `json:"jitter,omitempty"`
	Lead   time.Duration `json:"lead,omitempty"`
}

// Pace says how a rollout moves over the hosts of one certificate.
type Pace struct {
	Canary      int           // hosts that must be verified before the others start
	MaxParallel int           // hosts under way at once; 0 means no limit
	Pause       time.Duration // wait after each verified host
}

// FileKind is what a placed file holds.
type FileKind string

// The kinds of file of a placement.
const (
	FileCA     FileKind = "ca"     // trust bundle: one root or more
	FileCert   FileKind = "cert"   // leaf, then intermediates, no root
	FileLeaf   FileKind = "leaf"   // leaf alone
	FileKey    FileKind = "key"    // private key, PKCS #8 PEM
	FileBundle FileKind = "bundle" // key, leaf, intermediates
)

// FileKinds lists every kind, in the order in which they are written.
var FileKinds = []FileKind{FileCA, FileCert, FileLeaf, FileKey, FileBundle}

// Secret reports whether a file of this kind holds a private key.
func (k FileKind) Secret() bool { return k == FileKey || k == FileBundle }

// Placement is one certificate on one host: files, owner, modes, activation
// and probe. Dir and everything below it are on the host, under its root.
type Placement struct {
	Certificate string
	Host        string
	Machine     string                   `json:"-"` // that the host is, whatever it is called; empty: not known
	Dir         string                   // absolute and clean
	Files       map[FileKind]string      // base names within Dir
	Modes       map[FileKind]fs.FileMode // permission bits, one for each of Files
	Owner       string                   // user name or number; empty: see Host.Stage in package engine
	Group       string
	Activate    Activation
	Probe       Probe
	Guard       *Guard `json:",omitempty"` // nil: none
	Reloads     Reloads
}

// Reloads says what a service reads again by itself when the file changes, so
// that it needs no activation for it.
type Reloads struct {
	Leaf  bool // certificate and key
	Trust bool // the trust bundle
}

// Uses reports whether the service has loaded already what a step brings: only
// modes, owners or names are fixed.
func (p Placement) Uses(was PlacementState, s Step) bool {
	_, hasTrust := p.Files[FileCA]
	loaded := was.Loaded
	return loaded != nil && loaded.Generation == s.Generation && (!hasTrust || loaded.Roots.Same(s.Roots)) &&
		was.Generation == s.Generation && (was.Seen == nil || !was.Seen.Content) &&
		!was.Unactivated && was.Interrupted == nil && was.Layout == s.Layout && was.Origin != OriginForeign
}

// Rereads reports whether the service needs no activation to use what is
// staged: only what it reads by itself differs from what is in place.
func (p Placement) Rereads(was PlacementState, layout string, roots RootSet) bool {
	known := was.Placed() && was.Layout != "" && !was.Unactivated && was.Interrupted == nil
	_, hasTrust := p.Files[FileCA]
	return p.Reloads.Leaf && known && was.Layout == layout && (p.Reloads.Trust || !hasTrust || was.Roots.Same(roots))
}

// ID names the placement in messages, logs and keys: certificate@host, or the
// certificate's own name where that says the host already.
func (p Placement) ID() string {
	if strings.HasSuffix(p.Certificate, "@"+p.Host) {
		return p.Certificate
	}
	return p.Certificate + "@" + p.Host
}

// ActivationKind is the way in which a service is made to load its files.
type ActivationKind string

// The kinds of activation.
const (
	ActivateNone    ActivationKind = "none"
	ActivateSystemd ActivationKind = "systemd"
	ActivateSignal  ActivationKind = "signal"
	ActivateCommand ActivationKind = "command"
	ActivateDocker  ActivationKind = "docker"
)

// Activation makes the service load what was flipped.
type Activation struct {
	Kind      ActivationKind
	Units     []string // systemd
	Action    string   // systemd: restart or reload; docker: restart or kill
	PIDFile   string   // signal
	Signal    string   // signal, docker kill: HUP, USR1, …
	Command   []string // command: an argument vector, never a shell line
	Container string   // docker
	Timeout   time.Duration
	Bring     bool          `json:"-"` // start what does not run: it did before an activation that failed
	Dirs      []string      `json:"-"` // the placements' directories: nothing is done for one that another renewer keeps
	Budget    time.Duration // from stop to proven, restore included; 0: none
}

// Key identifies what is activated: two placements on one host with the same
// key are activated once when they fall together. Empty for none.
func (a Activation) Key() string {
	switch a.Kind {
	case ActivateSystemd:
		return "systemd " + a.Action + " " + strings.Join(a.Units, " ")
	case ActivateSignal:
		return "signal " + a.Signal + " " + a.PIDFile
	case ActivateCommand:
		return "command " + strings.Join(a.Command, "\x00")
	case ActivateDocker:
		return "docker " + a.Action + " " + a.Signal + " " + a.Container
	default:
		return ""
	}
}

// ProbeKind is the way in which a placement is proven.
type ProbeKind string

// The kinds of probe. Every kind but none looks at the files on disk first.
const (
	ProbeNone       ProbeKind = "none"
	ProbeFile       ProbeKind = "file"
	ProbeTLS        ProbeKind = "tls"
	ProbeDocker     ProbeKind = "docker"
	ProbeGRPCHealth ProbeKind = "grpc_health"
	ProbeCommand    ProbeKind = "command"
)

// Served reports whether probes of this kind see what is served, and not only
// files.
func (k ProbeKind) Served() bool { return k == ProbeTLS || k == ProbeDocker || k == ProbeGRPCHealth }

// Probe says how a placement is proven.
type Probe struct {
	Kind       ProbeKind
	Address    string // host:port
	ServerName string // empty: the host part of Address
	Mutual     bool
	Client     string // certificate with a local placement to present; empty: one is minted
	Command    []string
	Timeout    time.Duration // how long after activation the probe may take to pass
}

// Host is a machine of the fleet. How it is reached is the transport's.
type Host struct {
	Name    string
	Address string
	Names   []string
}
