package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
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
		Short: "Create, show, import or replace a local CA",
		Long: `Creates, shows, imports or replaces the CA of a local issuer. ISSUER may be left out
where the fleet file has one local issuer.`,
	})
	cmd.AddCommand(newCAInit(c), newCAShow(c), newCAImport(c), newCARotate(c), newCAReissue(c), newCAExport(c))
	for _, sub := range cmd.Commands() {
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
		Short: "Create the CA of a local issuer",
		Long: `Creates the CA of a local issuer: a self-signed root or, with --intermediate-of, an
intermediate signed by the CA of another local issuer. The parent needs a path length:
create it with --path-length 1. Its key is not needed afterwards and can be kept offline.`,
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
	cmd.Flags().StringVar(&below, "intermediate-of", "", "sign it with the CA of this local `ISSUER`")
	cmd.Flags().IntVar(&pathLen, "path-length", 0, "how many intermediate CAs are allowed below it")
	complete(cmd, "intermediate-of", c.fromFleet(localIssuers))
	return cmd
}

func newCAShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ISSUER]",
		Short:   "Show the CA of a local issuer and its rotation",
		Example: "  renewer ca show",
		RunE: func(cmd *cobra.Command, args []string) error {
			c.reading = true
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			var v renewer.CAView
			err := c.with(cmd.Context(), func(s server.Service) (err error) {
				v, err = s.CA(cmd.Context(), name)
				return err
			})
			if f, faulty := c.fleet(); err != nil && v.Issuer == "" && renewer.ClassOf(err) != renewer.ClassUnknown && faulty == nil { // it can be shown all the same
				shown, failed := daemon.CAShow(f, name)
				if failed != nil || shown.Subject == "" {
					return err // the same cause, most often
				}
				c.complain(err)
				v, err = shown, nil
			}
			if err != nil {
				return err
			}
			fault := renewer.WithHint(errors.New(v.Fault), v.Hint)
			if v.Fault != "" && v.Subject == "" && v.Rotation == nil {
				return fault
			}
			err = c.object(v, func() error {
				if v.Subject != "" {
					c.showCA(v.CAInfo, v.StrictFix)
				}
				for _, other := range v.Others {
					c.facts(other.Role, other.Subject, "SHA-256", other.Fingerprint, "expires", other.NotAfter, "key", other.Key)
				}
				if v.Rotation != nil {
					c.heading("Rotation")
					c.showRotation(*v.Rotation)
				}
				return nil
			})
			if v.Fault != "" {
				return fault
			}
			return err
		},
	}
}

func newCAImport(c *cli) *cobra.Command {
	var cert, key, passphraseFile string
	var asNext bool
	var req renewer.RotateRequest
	cmd := &cobra.Command{
		Use:   "import [ISSUER] --cert FILE [--key FILE]",
		Short: "Import a CA that was created with openssl or another tool",
		Long: `Imports the certificate and private key of a CA that was created with openssl,
easy-rsa, cfssl, step or mkcert: PEM, DER or PKCS #12, in two files or in one. The
passphrase of an encrypted key is read from --passphrase-file or prompted for.

With --as-next it replaces the CA of the issuer in the same stages as renewer ca rotate.`,
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
				c.remarks(local.Info{Issuer: req.Issuer, StrictPeers: daemon.NextStrictFaults(f, req.Issuer)}, "renewer ca rotate "+req.Issuer+" --cancel cancels the rotation; then have the CA reissued with what is missing (RFC 5280)")
				req.Kind = "import"
				return c.rotate(cmd.Context(), s, req)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cert, "cert", "", "`FILE` with the CA certificate and its chain")
	flags.StringVar(&key, "key", "", "`FILE` with its private key (default: the file of --cert)")
	flags.StringVar(&passphraseFile, "passphrase-file", "", "`FILE` with the passphrase of the key")
	flags.BoolVar(&asNext, "as-next", false, "replace the current CA of the issuer with it")
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
		is, _ := f.Issuer(name)
		c.showCA(info, daemon.StrictFix(f, is))
		return nil
	})
}

// showCA shows a CA, and says who will refuse it.
func (c *cli) showCA(info local.Info, strictFix string) {
	c.facts("issuer", info.Issuer, "subject", info.Subject, "root", info.Root, "key", info.Key, "key encrypted", info.Encrypted,
		"not before", info.NotBefore, "not after", end{renewer.Row{NotBefore: info.NotBefore, NotAfter: info.NotAfter}},
		"serial", info.Serial, "SHA-256", info.Fingerprint, "path length", pathLength(info.PathLen), "can sign CRLs", info.CanSignCRL,
		"may sign", cmp.Or(strings.Join(info.Limits, "; "), "any name, for servers and clients"),
		"strict peers", cmp.Or(strings.Join(info.StrictPeers, "; "), "accept it"))
	c.remarks(info, cmp.Or(strictFix, "have the CA reissued with what is missing (RFC 5280)"))
}

// remarks say what was left out of an import, and who refuses the CA.
func (c *cli) remarks(info local.Info, fix string) {
	for _, left := range info.LeftOut {
		c.say("not imported: %s, which the CA does not need", left)
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
	return daemon.LocalIssuer(f, strings.Join(args, ""))
}

func (c *cli) passphrase(key, file string) ([]byte, error) {
	if file != "" {
		b, err := atomicfile.ReadPassphrase(file)
		if errors.Is(err, fs.ErrNotExist) && renewer.Hint(err) == "" {
			err = renewer.WithHint(err, "give --passphrase-file FILE")
		}
		return b, err
	}
	if !term.IsTerminal(int(c.in.Fd())) {
		return nil, renewer.WithHint(errors.New("cannot prompt: standard input is not a terminal"), "give --passphrase-file FILE")
	}
	fmt.Fprintf(c.errOut, "passphrase of %s: ", key)
	b, err := term.ReadPassword(int(c.in.Fd()))
	fmt.Fprintln(c.errOut)
	if err == nil && len(b) == 0 {
		err = errors.New("no passphrase was given")
	}
	return b, err
}
