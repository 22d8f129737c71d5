package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/issuers/local"
	"renewer/renewer"
)

func newCA(c *cli) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "ca",
		Short: "Make, show or import a local CA",
		Long: `Makes, shows or imports the CA of a local issuer. ISSUER may be left out where
the fleet file has one local issuer. Nothing else ever makes a CA.`,
	})
	cmd.AddCommand(newCAInit(c), newCAShow(c), newCAImport(c))
	for _, sub := range cmd.Commands() {
		sub.Args = cobra.MaximumNArgs(1)
		sub.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return c.fromFleet(localIssuers)(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	return cmd
}

func newCAInit(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "init [ISSUER]",
		Short:   "Make the CA of a local issuer",
		Example: "  renewer ca init fleet-ca",
		RunE: func(_ *cobra.Command, args []string) error {
			return c.forIssuer(args, daemon.CAInit)
		},
	}
}

func newCAShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ISSUER]",
		Short:   "Show the CA of a local issuer",
		Example: "  renewer ca show",
		RunE: func(_ *cobra.Command, args []string) error {
			return c.forIssuer(args, daemon.CAShow)
		},
	}
}

func newCAImport(c *cli) *cobra.Command {
	var cert, key, passphraseFile string
	cmd := &cobra.Command{
		Use:   "import [ISSUER] --cert FILE [--key FILE]",
		Short: "Take over a CA that openssl made",
		Long: `Takes the certificate and key of a CA that something else made, such as
openssl, easy-rsa, cfssl, step or mkcert: PEM, DER or PKCS #12, in two files or in
one. An encrypted key needs its passphrase: from --passphrase-file, or typed.`,
		Example: `  renewer ca import fleet-ca --cert ca.pem --key ca-key.pem
  renewer ca import fleet-ca --cert ca.p12`,
		RunE: func(_ *cobra.Command, args []string) error {
			if cert == "" {
				return usagef("expected --cert FILE, and --key FILE where the key is in a file of its own")
			}
			return c.forIssuer(args, func(f *configs.Fleet, name string) (local.Info, error) {
				return daemon.CAImport(f, name, cert, key, func() ([]byte, error) { return c.passphrase(cmp.Or(key, cert), passphraseFile) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cert, "cert", "", "`FILE` with the CA and what is above it")
	flags.StringVar(&key, "key", "", "`FILE` with its key (default: the one of --cert)")
	flags.StringVar(&passphraseFile, "passphrase-file", "", "`FILE` with the passphrase of the key")
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
		c.facts("issuer", info.Issuer, "subject", info.Subject, "root", info.Root, "key", info.Key, "key encrypted", info.Encrypted,
			"not before", info.NotBefore, "not after", end{renewer.Row{NotBefore: info.NotBefore, NotAfter: info.NotAfter}},
			"serial", info.Serial, "SHA-256", info.Fingerprint, "path length", pathLength(info.PathLen), "can sign CRLs", info.CanSignCRL,
			"may sign", cmp.Or(strings.Join(info.Limits, "; "), "any name, for servers and clients"),
			"strict peers", cmp.Or(strings.Join(info.StrictPeers, "; "), "accept it"))
		for _, left := range info.LeftOut {
			c.say("left out: %s, which has the same key or is above one that has", left)
		}
		if len(info.StrictPeers) > 0 {
			c.caution(strictPeers(info))
		}
		return nil
	})
}

// strictPeers says who refuses this CA, and what to do.
func strictPeers(info local.Info) error {
	return renewer.WithHint(fmt.Errorf("issuer %s: peers that verify strictly, such as Python 3.13 and later, refuse this CA: %s", info.Issuer, strings.Join(info.StrictPeers, "; ")),
		daemon.StrictFix(info.Issuer))
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
		return atomicfile.ReadPassphrase(file)
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
