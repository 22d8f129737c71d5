package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newCA(c *cli) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "ca",
		Short: "Make, show, import or replace a local CA",
		Long: `Makes, shows, imports or replaces the CA of a local issuer. ISSUER may be left out
where the fleet file has one local issuer.`,
	})
	cmd.AddCommand(newCAInit(c), newCAShow(c), newCAImport(c), newCARotate(c), newCAReissue(c), newCAExport(c))
	for _, sub := range cmd.Commands() {
		sub.Args = cobra.MaximumNArgs(1)
		sub.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return c.fromFleet(localIssuers)(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	cmd.AddCommand(newCASignRequests(c)) // whose argument is a directory
	return cmd
}

func newCAInit(c *cli) *cobra.Command {
	var below string
	var pathLen int
	cmd := &cobra.Command{
		Use:   "init [ISSUER] [--intermediate-of ISSUER]",
		Short: "Make the CA of a local issuer",
		Long: `Makes the CA of a local issuer: one that signs itself or, with --intermediate-of,
one that the CA of another local issuer signs. That one needs a path length: make it
with --path-length 1. Its key is not needed any more afterwards, and can be kept
offline.`,
		Example: `  renewer ca init fleet-ca
  renewer ca init root-ca --path-length 1
  renewer ca init fleet-ca --intermediate-of root-ca`,
		RunE: func(_ *cobra.Command, args []string) error {
			if pathLen < 0 || pathLen > 8 {
				return usagef("--path-length is %d; expected 0 to 8", pathLen)
			}
			return c.forIssuer(args, func(f *configs.Fleet, name string) (local.Info, error) {
				return daemon.CAInitBelow(f, name, below, pathLen)
			})
		},
	}
	cmd.Flags().StringVar(&below, "intermediate-of", "", "have it signed by the CA of this local `ISSUER`")
	cmd.Flags().IntVar(&pathLen, "path-length", 0, "how many CAs may stand below it")
	complete(cmd, "intermediate-of", c.fromFleet(localIssuers))
	return cmd
}

func newCAShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ISSUER]",
		Short:   "Show the CA of a local issuer, and how its replacement stands",
		Example: "  renewer ca show",
		RunE: func(cmd *cobra.Command, args []string) error {
			c.reading = true
			f, err := c.fleet()
			if err != nil {
				return c.showRotationOnly(cmd.Context(), args, err)
			}
			name, err := localIssuer(f, args)
			if err != nil {
				return err
			}
			info, fault := daemon.CAShow(f, name)
			shown := struct {
				daemon.CAInfo
				Rotation *renewer.RotationView `json:"rotation,omitempty"`
			}{CAInfo: info}
			err = c.with(cmd.Context(), func(s server.Service) error {
				v, err := s.Rotation(cmd.Context(), name)
				if v.Stage != "" {
					shown.Rotation = &v
				}
				return err
			})
			if err != nil { // the CA can be shown all the same
				c.complain(err)
			}
			if fault != nil && info.Issuer == "" && shown.Rotation == nil {
				return fault
			}
			err = c.object(shown, func() error {
				if info.Issuer != "" {
					c.showCA(info.Info)
				}
				for _, other := range info.Others {
					c.facts(other.Role, other.Subject, "SHA-256", other.Fingerprint, "expires", other.NotAfter, "key", other.Key)
				}
				if shown.Rotation != nil {
					c.heading("Rotation")
					c.showRotation(*shown.Rotation)
				}
				return nil
			})
			return cmp.Or(fault, err)
		},
	}
}

// showRotationOnly shows what the daemon knows of a CA whose fleet file has a fault: which
// one signs, until when, and its replacement.
func (c *cli) showRotationOnly(ctx context.Context, args []string, fault error) error {
	client, err := c.daemon(ctx)
	if err != nil || client == nil {
		return fault
	}
	st, err := client.Status(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, is := range st.Issuers {
		if is.Type != "local" || len(args) == 1 && is.Name != args[0] {
			continue
		}
		names = append(names, is.Name)
	}
	if len(names) != 1 {
		return fault
	}
	v, err := client.Rotation(ctx, names[0])
	if err != nil {
		return err
	}
	is := st.Issuers[slices.IndexFunc(st.Issuers, func(is renewer.IssuerStatus) bool { return is.Name == names[0] })]
	shown := struct {
		Issuer   string                `json:"issuer"`
		CAs      []renewer.CAStatus    `json:"cas"`
		Rotation *renewer.RotationView `json:"rotation,omitempty"`
	}{Issuer: is.Name, CAs: is.CAs}
	if v.Stage != "" {
		shown.Rotation = &v
	}
	return c.object(shown, func() error {
		c.facts("issuer", is.Name)
		for _, ca := range is.CAs {
			c.facts("subject", ca.Subject, "not after", ca.NotAfter)
		}
		if shown.Rotation != nil {
			c.heading("Rotation")
			c.showRotation(v)
		}
		return nil
	})
}

func newCAImport(c *cli) *cobra.Command {
	var cert, key, passphraseFile string
	var asNext bool
	var req renewer.RotateRequest
	cmd := &cobra.Command{
		Use:   "import [ISSUER] --cert FILE [--key FILE]",
		Short: "Take over a CA that openssl made",
		Long: `Takes the certificate and key of a CA that something else made, such as
openssl, easy-rsa, cfssl, step or mkcert: PEM, DER or PKCS #12, in two files or in
one. An encrypted key needs its passphrase: from --passphrase-file, or typed.

With --as-next it takes the place of the CA that the issuer has, in the same stages
as after renewer ca rotate.`,
		Example: `  renewer ca import fleet-ca --cert ca.pem --key ca-key.pem
  renewer ca import fleet-ca --cert ca.p12
  renewer ca import fleet-ca --as-next --cert new.pem --key new-key.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cert == "" {
				return usagef("expected --cert FILE, and --key FILE where the key is in a file of its own")
			}
			ask := func() ([]byte, error) { return c.passphrase(cmp.Or(key, cert), passphraseFile) }
			if !asNext {
				if req.Wait {
					return usagef("--wait is for --as-next")
				}
				return c.forIssuer(args, func(f *configs.Fleet, name string) (local.Info, error) {
					return daemon.CAImport(f, name, cert, key, ask)
				})
			}
			f, err := c.fleet()
			if err != nil {
				return err
			}
			if req.Issuer, err = localIssuer(f, args); err != nil {
				return err
			}
			return c.with(cmd.Context(), func(s server.Service) error {
				if err := daemon.CAImportNext(cmd.Context(), s, f, req.Issuer, cert, key, ask); err != nil {
					return err
				}
				c.remarks(local.Info{Issuer: req.Issuer, StrictPeers: daemon.NextStrictFaults(f, req.Issuer)}, "renewer ca rotate "+req.Issuer+" --cancel takes it back; then have it signed anew with what is missing (RFC 5280)")
				req.Kind = "import"
				return c.rotate(cmd.Context(), s, req)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cert, "cert", "", "`FILE` with the CA and what is above it")
	flags.StringVar(&key, "key", "", "`FILE` with its key (default: the one of --cert)")
	flags.StringVar(&passphraseFile, "passphrase-file", "", "`FILE` with the passphrase of the key")
	flags.BoolVar(&asNext, "as-next", false, "replace the CA of the issuer by it")
	flags.BoolVar(&req.Wait, "wait", false, "with --as-next: "+waitUsage)
	return cmd
}

// forIssuer does something to the CA of a local issuer and prints it.
func (c *cli) forIssuer(args []string, do func(*configs.Fleet, string) (local.Info, error)) error {
	f, err := c.fleet()
	if err != nil {
		return err
	}
	name, err := localIssuer(f, args)
	if err != nil {
		return err
	}
	info, err := do(f, name)
	if err != nil {
		return err
	}
	return c.object(info, func() error {
		c.showCA(info)
		return nil
	})
}

// showCA shows a CA, and says who will refuse it.
func (c *cli) showCA(info local.Info) {
	c.facts("issuer", info.Issuer, "subject", info.Subject, "root", info.Root, "key", info.Key, "key encrypted", info.Encrypted,
		"not before", info.NotBefore, "not after", end{renewer.Row{NotBefore: info.NotBefore, NotAfter: info.NotAfter}},
		"serial", info.Serial, "SHA-256", info.Fingerprint, "path length", pathLength(info.PathLen), "can sign CRLs", info.CanSignCRL,
		"may sign", cmp.Or(strings.Join(info.Limits, "; "), "any name, for servers and clients"),
		"strict peers", cmp.Or(strings.Join(info.StrictPeers, "; "), "accept it"))
	fix := ""
	if f, err := c.fleet(); err == nil {
		if i := slices.IndexFunc(f.Issuers, func(is configs.Issuer) bool { return is.Name == info.Issuer }); i >= 0 {
			fix = daemon.StrictFix(f, f.Issuers[i])
		}
	}
	c.remarks(info, cmp.Or(fix, "have it signed anew with what is missing (RFC 5280)"))
}

// remarks say what was left out of an import, and who refuses the CA.
func (c *cli) remarks(info local.Info, fix string) {
	for _, left := range info.LeftOut {
		c.say("left out: %s, which the CA does not need", left)
	}
	if len(info.StrictPeers) > 0 {
		c.caution(renewer.WithHint(fmt.Errorf("issuer %s: peers that verify strictly, such as Python 3.13 and later, refuse this CA: %s", info.Issuer, strings.Join(info.StrictPeers, "; ")), fix))
	}
}

func pathLength(n int) any {
	if n < 0 {
		return "none"
	}
	return n
}

func localIssuers(f *configs.Fleet) (names []string) {
	for _, i := range f.Issuers {
		if i.Type == "local" {
			names = append(names, i.Name)
		}
	}
	return names
}

// localIssuer is the one that is named, or the only one.
func localIssuer(f *configs.Fleet, args []string) (string, error) {
	names := localIssuers(f)
	if len(args) == 1 {
		if i, ok := f.Issuer(args[0]); !ok || i.Type != "local" {
			return "", usagef("%s has no local issuer %q; it has: %s", f.Path, args[0], strings.Join(names, ", "))
		}
		return args[0], nil
	}
	if len(names) != 1 {
		return "", usagef("%s has %s; name one of: %s", f.Path, count(len(names), "local issuer"), strings.Join(names, ", "))
	}
	return names[0], nil
}

func (c *cli) passphrase(key, file string) ([]byte, error) {
	if file != "" {
		b, err := atomicfile.ReadPassphrase(file)
		if errors.Is(err, fs.ErrNotExist) && renewer.Hint(err) == "" {
			err = renewer.WithHint(err, "name the file that is meant: --passphrase-file FILE")
		}
		return b, err
	}
	if !term.IsTerminal(int(c.in.Fd())) {
		return nil, renewer.WithHint(fmt.Errorf("%s is encrypted, and there is no terminal to ask for its passphrase", key), "give --passphrase-file FILE")
	}
	fmt.Fprintf(c.errOut, "passphrase of %s: ", key)
	b, err := term.ReadPassword(int(c.in.Fd()))
	fmt.Fprintln(c.errOut)
	if err == nil && len(b) == 0 {
		err = errors.New("no passphrase was given")
	}
	return b, err
}
