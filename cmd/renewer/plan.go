package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newPlan(c *cli) *cobra.Command {
	var exitCode, loaded bool
	var against string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be issued, placed and restarted, and why",
		Long: `Shows what a run would do now, and why. Changes nothing.

While the daemon runs, the plan is that of its fleet file as it is on disk, as after a
reload; --loaded shows that of the fleet file that the daemon has read.

With --against FILE two fleet files are compared, and nothing else: no state, no CA and no
daemon is needed. It shows what the fleet file adds, changes and removes compared with FILE.`,
		Example: "  renewer plan\n  renewer plan -o json --exit-code\n  renewer --config new.yaml plan --against old.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if against != "" {
				c.reading = false // both are files: no daemon has them
				if loaded {
					return usagef("--against compares files; --loaded is about the daemon")
				}
				found, err := c.against(against)
				return errors.Join(err, foundIf(exitCode && found))
			}
			return c.with(cmd.Context(), func(s server.Service) error {
				view, err := s.Plan(cmd.Context(), renewer.PlanRequest{Loaded: loaded})
				if err != nil {
					return err
				}
				c.whosePlan(view)
				for _, text := range view.Warnings {
					c.caution(errors.New(text))
				}
				if c.format.table() {
					c.showSteps(view)
				} else if err := steps(c).all(view.Steps, ""); err != nil {
					return err
				}
				return foundIf(exitCode && len(view.Steps) > 0)
			})
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if there is something to do")
	cmd.Flags().BoolVar(&loaded, "loaded", false, "the plan of the fleet file that the daemon has read, whatever is on disk")
	cmd.Flags().StringVar(&against, "against", "", "compare the fleet file with `FILE`, the one before it")
	return cmd
}

func steps(c *cli) *list[renewer.PlanStep] {
	return listOf(c, []string{"certificate", "host", "action", "reason"}, func(p renewer.PlanStep) []any {
		return []any{p.Certificate, p.Host, p.Action, p.Reason}
	})
}

// whosePlan says which fleet file a plan is of, where there are two.
func (c *cli) whosePlan(v renewer.PlanView) {
	switch path, err := c.path(); {
	case err == nil && !sameFile(path, v.File):
		c.caution(renewer.WithHint(fmt.Errorf("the daemon has the fleet file %s: this is its plan, not that of %s", v.File, path),
			"renewer --config "+path+" plan --against "+v.File))
	case v.Fault != "" && !readable(v.File): // else it was said already
		c.caution(fmt.Errorf("%s; this is the plan of the fleet file that the daemon has read", v.Fault))
	case v.Edited && v.Loaded:
		c.say("note: %s on disk is another one; this is the plan of the one that the daemon has read (renewer plan shows the other)", v.File)
	case v.Edited && v.Fault == "":
		c.say("note: %s was edited since the daemon read it; this is the plan after a reload (--loaded: the plan before)", v.File)
	}
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return a == b || err1 == nil && err2 == nil && os.SameFile(x, y)
}

func readable(path string) bool {
	f, err := os.Open(path)
	return err == nil && f.Close() == nil
}

// against compares the fleet file with the one before it.
func (c *cli) against(file string) (found bool, err error) {
	is, err := c.fleet()
	was, failed := configs.LoadForReading(file)
	if errors.Is(failed, fs.ErrNotExist) {
		failed = renewer.WithHint(fmt.Errorf("--against %s: there is no such file", file), "git show REVISION:FILE > old.yaml makes it from a repository")
	}
	if both, ok := errors.AsType[configs.Faults](failed); ok { // the faults of one file do not hide those of the other
		if faults, ok := errors.AsType[configs.Faults](err); ok {
			return false, usageError{append(faults, both...)}
		}
	}
	if err != nil && failed != nil {
		c.complain(failed)
	} else if err == nil {
		err = failed
	}
	if err != nil {
		return false, usageError{err}
	}
	changes := renewer.Compare(was.Outline(), is.Outline())
	if c.format.table() {
		c.showChanges(changes)
		if len(changes) > 0 {
			c.print("")
		}
		c.wrapped(compared(changes, len(is.Certificates)))
		return len(changes) > 0, nil
	}
	return len(changes) > 0, listOf(c, []string{"kind", "name", "action", "reason"}, func(ch renewer.FleetChange) []any {
		return []any{ch.Kind, ch.Name, ch.Action, ch.Reason}
	}).all(changes, "")
}

func foundIf(found bool) error {
	if found {
		return exitError(exitFound)
	}
	return nil
}
