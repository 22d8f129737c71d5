package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

const waitUsage = "return when the rotation is done; exit 1 if it is blocked or, without a daemon, waits for a window or a time"

// caKeys are the types of the key of a CA.
var caKeys = []string{"ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-3072", "rsa-4096"}

func newCARotate(c *cli) *cobra.Command {
	var req renewer.RotateRequest
	var keep, lifetime duration
	var key string
	var yes bool
	cmd := &cobra.Command{
		Use:   "rotate [ISSUER]",
		Short: "Replace the CA of a local issuer without refused connections",
		Long: `Creates the next CA beside the one that signs. Its root is added to every ca file
and loaded; then the next CA signs and certificates are renewed at the pace of their
entries; then the old root is removed from every ca file. The old key is kept until
--destroy-old removes it.

The command returns when the rotation is recorded: the daemon, or renewer run --once,
does the rest. renewer ca show prints the current stage and what it waits for. A second
ca rotate changes the running rotation: --without HOST, --now and --compromised.

With --compromised the next CA signs at once, windows are ignored, and the old root is
removed from every ca file as soon as the certificates of all reachable hosts are
replaced. The command first prints which connections break.`,
		Example: `  renewer ca rotate fleet-ca --plan
  renewer ca rotate fleet-ca --wait
  renewer ca rotate fleet-ca --keep 30d
  renewer ca rotate fleet-ca --without host-c
  renewer ca rotate fleet-ca --compromised --yes
  renewer ca rotate fleet-ca --cancel
  renewer ca rotate fleet-ca --destroy-old`,
		RunE: func(cmd *cobra.Command, args []string) error {
			begins := req.Now || req.Compromised || len(req.Without) > 0 || keep != 0 || key != "" || lifetime != 0
			switch {
			case req.Plan && req.Wait:
				return usagef("expected one of --plan and --wait")
			case key != "" && !slices.Contains(caKeys, key):
				return usagef("a CA has no key of type %q; expected %s", key, strings.Join(caKeys, ", "))
			case req.Cancel && req.DestroyOld || (req.Cancel || req.DestroyOld) && (begins || req.Plan):
				return usagef("--cancel and --destroy-old stand alone")
			case req.Compromised && keep != 0:
				return usagef("a root that may be compromised is not kept; expected one of --compromised and --keep")
			}
			req.Kind, req.Keep, req.Lifetime, req.Key = "rotate", time.Duration(keep), time.Duration(lifetime), renewer.KeyType(key)
			return c.rotateIssuer(cmd.Context(), args, &req, func(s server.Service) error {
				if req.Compromised && !req.Plan {
					if err := c.confirmCompromised(cmd.Context(), s, &req, yes); err != nil {
						return err
					}
				}
				return c.rotate(cmd.Context(), s, req)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.Plan, "plan", false, "only print the stages: hosts, restarts, times")
	flags.BoolVar(&req.Wait, "wait", false, waitUsage)
	flags.BoolVar(&req.Now, "now", false, "renew certificates at once, outside their windows")
	flags.BoolVar(&req.Compromised, "compromised", false, "the private key of the CA is compromised: switch first, then remove the old root")
	flags.BoolVar(&yes, "yes", false, "with --compromised: do not prompt")
	flags.StringArrayVar(&req.Without, "without", nil, "continue without `HOST`, which cannot be reached (repeatable)")
	flags.Var(&keep, "keep", "keep the old root in the ca files for this long after the switch, such as 30d")
	flags.StringVar(&key, "key", "", "`TYPE` of the next key: ecdsa-p256, ecdsa-p384, ed25519, rsa-3072 or rsa-4096 (default: as now)")
	flags.Var(&lifetime, "lifetime", "lifetime of the next CA, such as 3650d (default ten years)")
	flags.BoolVar(&req.Cancel, "cancel", false, "cancel the rotation; possible until the next CA signs")
	flags.BoolVar(&req.DestroyOld, "destroy-old", false, "remove the private keys of the previous CAs")
	complete(cmd, "without", c.hostNames)
	return cmd
}

func newCAReissue(c *cli) *cobra.Command {
	req := renewer.RotateRequest{Kind: "reissue"}
	var lifetime duration
	cmd := &cobra.Command{
		Use:   "reissue [ISSUER]",
		Short: "Reissue the CA's certificate: same key and name, longer lifetime",
		Long: `Reissues the certificate of the CA with the same key and name, the extensions that
strict peers require (critical basicConstraints and keyUsage, subject key identifier)
and a longer lifetime. It replaces the old one in the same stages as renewer ca rotate;
no certificate is renewed, because certificates signed by the key chain to both.`,
		Example: "  renewer ca reissue fleet-ca --lifetime 3650d --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.Plan && req.Wait {
				return usagef("expected one of --plan and --wait")
			}
			req.Lifetime = time.Duration(lifetime)
			return c.rotateIssuer(cmd.Context(), args, &req, func(s server.Service) error { return c.rotate(cmd.Context(), s, req) })
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.Plan, "plan", false, "only print the stages: hosts, restarts, times")
	flags.BoolVar(&req.Wait, "wait", false, waitUsage)
	flags.Var(&lifetime, "lifetime", "lifetime of the new certificate, such as 3650d (default ten years)")
	return cmd
}

// rotateIssuer finds the issuer that is meant, and the service. Where one is named the
// daemon needs no fleet file.
func (c *cli) rotateIssuer(ctx context.Context, args []string, req *renewer.RotateRequest, do func(server.Service) error) error {
	if len(args) == 1 {
		req.Issuer = args[0]
	} else {
		f, err := c.fleet()
		if err != nil {
			return err
		}
		if req.Issuer, err = localIssuer(f, nil); err != nil {
			return err
		}
	}
	return c.with(ctx, do)
}

// confirmCompromised says who will refuse whom, and asks.
func (c *cli) confirmCompromised(ctx context.Context, s server.Service, req *renewer.RotateRequest, yes bool) error {
	ask := *req
	ask.Plan = true
	v, err := s.Rotate(ctx, ask, nil)
	if err != nil {
		return err
	}
	for _, line := range v.Breaks {
		fmt.Fprintf(c.errOut, "breaks: %s\n", line)
	}
	req.Without = v.Without
	if yes {
		return nil
	}
	return c.confirm(ctx, "replace the CA of "+req.Issuer+" now?")
}

// rotate asks for a rotation and shows it. It fails where it was waited for and needs
// somebody.
func (c *cli) rotate(ctx context.Context, s server.Service, req renewer.RotateRequest) error {
	v, err := watched(c, "replacing the CA", nil, func(tell func(renewer.Event)) (renewer.RotationView, error) { return s.Rotate(ctx, req, tell) })
	if err != nil {
		return interrupted(err)
	}
	err = c.object(v, func() error {
		c.showRotation(v)
		err := c.showRotationPlan(v)
		for _, line := range v.Warnings {
			fmt.Fprintln(c.out, strings.Join(lines("note: "+line, c.width()), "\n"))
		}
		return err
	})
	if err == nil && req.Wait && v.EndedAt.IsZero() {
		c.complain(notOver(v))
		return exitError(exitFailed)
	}
	return err
}

// notOver says why a rotation that was waited for is not over: it is blocked or, where no
// daemon goes on with it, what is left waits for a window or a time.
func notOver(v renewer.RotationView) error {
	if v.Blocked {
		return renewer.WithHint(fmt.Errorf("%s: %s is blocked: %s", v.Issuer, v.Stage, strings.Join(v.Waiting, "; ")), v.Ends)
	}
	return renewer.WithHint(fmt.Errorf("%s: %s is not done, and no daemon runs that continues it: %s", v.Issuer, v.Stage, strings.Join(v.Waiting, "; ")),
		"renewer run --once continues it; renewer ca show "+v.Issuer+" prints its stage")
}

func (c *cli) showRotation(v renewer.RotationView) {
	to := v.To.Subject
	if to == "" {
		to = "created when the rotation starts"
	}
	c.facts("issuer", v.Issuer, "stage", v.Stage, "since", v.Since, "why", v.Why, "from", v.From.Subject, "to", to,
		"without", v.Without, "keeps until", v.KeepUntil, "started", v.StartedAt, "switched", v.SwitchedAt, "ended", v.EndedAt,
		"waits for", strings.Join(v.Waiting, "\n"), "which", v.Ends, "left behind", strings.Join(v.LeftBehind, "\n"), "old key", v.OldKey)
	if len(v.TrustedBy) > 0 {
		c.facts("old root", "still trusted by "+strings.Join(renewer.Members(v.TrustedBy, 3), ", ")+" when the rotation ended")
	}
	if v.SameRoot && v.Compromised && v.Stage == "done" {
		c.facts("old root", "still trusted, because it is the root of both CAs: a peer that checks no CRL accepts what the old key signs")
	}
	if v.TrustedNowhere > 0 {
		c.facts("old root", "trusted by no peer "+time.Duration(v.TrustedNowhere*float64(time.Second)).Round(time.Second).String()+" after the command")
	}
}

func (c *cli) showRotationPlan(v renewer.RotationView) error {
	if len(v.Plan) == 0 {
		return nil
	}
	c.heading("Stages")
	var rows [][]any
	for _, s := range v.Plan {
		rows = append(rows, []any{s.Stage, s.What, s.Placements, len(s.Hosts), s.Restarts, s.When})
	}
	if err := c.table([]string{"stage", "what", "placements", "hosts", "restarts", "when"}, rows); err != nil {
		return err
	}
	for _, line := range v.Breaks {
		fmt.Fprintln(c.out, strings.Join(lines("breaks: "+line, c.width()), "\n"))
	}
	return nil
}
