package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newVerify(c *cli) *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "verify [NAME...]",
		Short: "Compare what is on disk and served with the inventory",
		Long: `Compares what is on disk and served with the inventory. A placement with probe: none
is not probed: neither its files nor its service are looked at.`,
		Example: `  renewer verify
  renewer verify docker@host-b --exit-code`,
		ValidArgsFunction: c.certificates(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				found, err := watched(c, "probing", nil, func(func(renewer.Event)) ([]renewer.Verification, error) { return s.Verify(cmd.Context(), args) })
				if err != nil {
					return err
				}
				return c.verified(found, exitCode)
			})
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if something differs")
	return cmd
}

func (c *cli) verified(found []renewer.Verification, exitCode bool) error {
	out := listOf(c, []string{"certificate", "host", "state", "generation", "expected_sha256", "on_disk_sha256", "served_sha256", "problems"},
		func(v renewer.Verification) []any {
			agrees := state("ok")
			if v.Unreachable {
				agrees = "unreachable"
			} else if !v.OK {
				agrees = "differs"
			} else if v.OnDisk == "" && v.Served == "" { // probe: none
				agrees = "not probed"
			}
			return []any{v.Certificate, v.Host, agrees, v.Generation, c.short(v.Expected), c.short(v.OnDisk), c.short(v.Served), strings.Join(v.Problems, "; ")}
		})
	differ, hosts := false, []string{}
	for _, v := range found {
		if v.Unreachable {
			hosts = append(hosts, v.Host)
		}
		differ = differ || !v.OK && !v.Unreachable
		if v.Problems == nil {
			v.Problems = []string{}
		}
		if err := out.add(v); err != nil {
			return err
		}
		for _, s := range v.NotChecked {
			if c.format.table() {
				c.say("%s on %s: not checked: %s", v.Certificate, v.Host, s)
			}
		}
	}
	if err := out.end("nothing to verify"); err != nil {
		return err
	}
	if slices.Sort(hosts); len(hosts) > 0 && (!exitCode || !differ) {
		hosts = slices.Compact(hosts)
		return renewer.WithHint(fmt.Errorf("not everything was verified: %s cannot be reached", strings.Join(hosts, ", ")), "renewer doctor "+hosts[0])
	}
	return foundIf(exitCode && differ)
}

// short is the part of a fingerprint that is compared by eye.
func (c *cli) short(hex string) string {
	if len(hex) > 16 && c.format != asWide && c.format.table() {
		return hex[:16] + "…"
	}
	return hex
}
