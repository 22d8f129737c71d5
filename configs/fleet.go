package configs

import (
	"time"

	"github.com/robfig/cron/v3"

	"renewer/renewer"
)

// Fleet is a fleet file that was found to be right, with every default filled
// in. Issuers, hosts and certificates are in the order of the file;
// certificates with per_host are expanded, one for each host.
type Fleet struct {
	Path     string // as given to Load
	Name     string `json:",omitempty"` // the key fleet; empty: the host's name is used
	Digest   string `json:"-"`          // of the text: the same one resolves to the same fleet
	StateDir string
	Socket   string
	// SocketGroup is the name or number of the group whose members may read on the socket.
	SocketGroup string `json:",omitempty"`
	HTTP        struct {
		Listen    string // host:port
		WebConfig string // Prometheus exporter-toolkit file, or empty
		// AllowUnauthenticated: other machines may read the port without a
		// password or a client certificate.
		AllowUnauthenticated bool `json:",omitempty"`
		// AllowedHosts are the names by which the port may be asked, besides those
		// of the loopback and the listening address.
		AllowedHosts []string `json:",omitempty"`
		// ExternalURL is where operators reach the page, without a slash at the
		// end; empty: at Listen.
		ExternalURL string `json:",omitempty"`
	}
	Schedule struct {
		Check, Probe         cron.Schedule // in UTC
		CheckSpec, ProbeSpec string
	}
	SealIdentityFile string
	Issuers          []Issuer
	Hosts            []Host
	Certificates     []renewer.Certificate
	Profiles         []Profile // built-in ones first, overridden where the file says so
	Channels         []Channel

	windows  map[string]Window
	hosts    map[string]int           // name → place in Hosts
	entries  map[string][]string      // entry name → full names
	tolerate map[string]time.Duration // entry name → tolerate, as it is written
	index    map[string]int           // full name → place in Certificates
	roots    []rootFile               // that trust: names
	reading  bool                     // see LoadForReading
}

// Issuer is one entry of issuers. Which fields are set depends on Type.
type Issuer struct {
	Name string
	Type string // local, step-ca, vault, acme, command or files
	ACME *ACME  `json:",omitempty"`

	// local: the CA's files.
	PassphraseFile string
	CACert         string // for vault: the trust for Vault's own TLS
	CAKey          string
	CRLDir         string        // where a local CA keeps its CRL
	RotateAt       renewer.Share `json:",omitempty"` // of its life, when a local CA is replaced by itself; 0: never
	StandbyRoot    bool          `json:",omitempty"` // the next root of a local CA is trusted ahead of time
	MaxLifetime    time.Duration `json:",omitempty"` // that a local CA signs for
	AllowedNames   []string      `json:",omitempty"` // that a local CA signs; empty: any
	RootsFile      string        // where its roots are kept for when it is away

	// step-ca
	URL             string
	RootFingerprint string // SHA-256, lower-case hex
	Provisioner     string
	PasswordFile    string
	X5CCert         string
	X5CKey          string

	// vault
	Address   string
	Namespace string
	Mount     string
	Role      string
	IssuerRef string `json:",omitempty"` // one of several issuers in the mount
	RootFile  string `json:",omitempty"` // the root, where the mount does not have it; of command and files
	Auth      VaultAuth
	// RotateSecretID is the age at which the secret id of an AppRole is
	// replaced; zero: never.
	RotateSecretID time.Duration `json:",omitempty"`

	// command: what is run, with its arguments.
	Sign       []string      `json:",omitempty"`
	RevokeWith []string      `json:",omitempty"`
	Timeout    time.Duration `json:",omitempty"` // of one run; 0: a minute

	Dir string `json:",omitempty"` // files: where CSRs are written, and certificates awaited

	Rate float64 // orders a second; 0: no limit
}

// VaultAuth is how an issuer of type vault logs in.
type VaultAuth struct {
	Method       string // approle, token, cert, kubernetes or jwt
	Mount        string // path of the auth method; empty: the method's name
	RoleIDFile   string
	SecretIDFile string
	Wrapped      bool // the secret id file holds a wrapping token
	TokenFile    string
	Cert, Key    string
	Role         string
	JWTFile      string
}

// Host is one entry of hosts: the machine and how it is reached.
type Host struct {
	renewer.Host
	Type           string // local, ssh
	User           string // empty: the login user
	Sudo           bool
	Port           int    // 0: that of ~/.ssh/config, else 22
	SFTPServer     string // empty: looked for in the usual places
	IdentityFile   string // empty: ssh-agent
	KnownHostsFile string // empty: ~/.ssh/known_hosts
	Jump           string // name of another host
	Root           string // prefix of every path on the host; / for none
	// Retired: the machine is gone for good. No certificate has a placement
	// there, and those that were on retired hosts alone are no more.
	Retired bool `json:",omitempty"`
	machine string
}

// Channel is one entry of notify. Exactly one way of sending is set.
type Channel struct {
	Name            string
	Events          []renewer.EventType // empty: the ones an operator should see
	URLFile         string              // holds a shoutrrr URL
	WebhookURLFile  string
	WebhookHMACFile string
	SMTP            SMTP
	Exec            []string
	Template        string // a text/template file; empty: the default
}

// SMTP is a channel that sends mail; Address is empty for other channels.
type SMTP struct {
	Address      string // host:port
	From         string
	To           []string
	Username     string
	PasswordFile string
	TLS          string // starttls, implicit or none; empty: as the port says
	CACert       string // trust for the server; empty: the system's
}
