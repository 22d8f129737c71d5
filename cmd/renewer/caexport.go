package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
)

func newCAExport(c *cli) *cobra.Command {
	var e daemon.CAExport
	var file, passphraseFile string
	cmd := &cobra.Command{
		Use:   "export [ISSUER] [--format pem|der|pkcs12] [--out FILE] [--with-key]",
		Short: "Write the CA of a local issuer for other software",
		Long: `Writes the certificate of a local CA without its private key: as PEM with its chain
up to the root, as DER the root only, or as a PKCS #12 trust store for Java.

With --with-key the private key is written too, as PEM or PKCS #12, into a file with mode
0600. It is encrypted with the passphrase of --passphrase-file; a key that is encrypted in
its own file is not exported without one.`,
		Example: `  renewer ca export fleet-ca > ca.pem
  renewer ca export fleet-ca --format der --out ca.cer
  renewer ca export fleet-ca --format pkcs12 --out trust.p12 --passphrase-file pass
  renewer ca export fleet-ca --with-key --out ca-with-key.pem`,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case !slices.Contains([]string{"pem", "der", "pkcs12"}, e.Format):
				return usagef("--format is %q; expected pem, der or pkcs12", e.Format)
			case e.Key && e.Format == "der":
				return usagef("DER holds one certificate; with --with-key use --format pem or pkcs12")
			case file == "" && (e.Key || e.Format != "pem"):
				return usagef("expected --out FILE: a key, DER and PKCS #12 are not printed")
			case passphraseFile != "" && !e.Key && e.Format != "pkcs12":
				return usagef("--passphrase-file is for --with-key and --format pkcs12")
			}
			f, err := c.fleet()
			if err != nil {
				return err
			}
			if e.Issuer, err = localIssuer(f, args); err != nil {
				return err
			}
			if e.Format == "pkcs12" || passphraseFile != "" {
				e.Passphrase = func() ([]byte, error) { return c.passphrase(file, passphraseFile) }
			}
			data, err := e.Bytes(f)
			if err != nil {
				return err
			}
			if file == "" {
				_, err = c.out.Write(data)
				return err
			}
			if err := daemon.WriteExport(file, data, e.Key); err != nil {
				return err
			}
			what := "the CA of issuer " + e.Issuer
			if e.Key {
				what += " and its private key"
			}
			c.say("%s", fmt.Sprintf("wrote %s to %s", what, file))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&e.Format, "format", "pem", "`FORMAT`: pem, der or pkcs12")
	flags.StringVar(&file, "out", "", "write to `FILE`, which must not exist")
	flags.BoolVar(&e.Key, "with-key", false, "export the private key too")
	flags.StringVar(&passphraseFile, "passphrase-file", "", "`FILE` with the passphrase of the exported key or store")
	return cmd
}
