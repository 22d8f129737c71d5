package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newBackup(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the inventory, without keys",
		Long: `Writes a consistent copy of the inventory, also while the daemon runs. It has no
private keys. An existing file is not overwritten.`,
		Example: "  renewer backup /var/backups/renewer.db",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				size, err := backup(cmd.Context(), s, args[0])
				if err != nil {
					return fmt.Errorf("back up the inventory: %w", err)
				}
				return c.object(map[string]any{"file": args[0], "bytes": size}, func() error {
					fmt.Fprintf(c.out, "%s: %d bytes\n", args[0], size)
					return nil
				})
			})
		},
	}
}

// backup writes into a temporary file beside the target, which appears whole
// or not at all.
func backup(ctx context.Context, s server.Service, path string) (size int64, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, renewer.WithHint(fmt.Errorf("%s: %w", path, fs.ErrExist), "name a file that does not exist")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".renewer-backup-") // mode 0600
	if at, ok := errors.AsType[*fs.PathError](err); ok {              // of a name that was not typed
		return 0, fmt.Errorf("%s: %w", path, at.Err)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	defer tmp.Close()
	if err := s.Backup(ctx, tmp); err != nil {
		return 0, err
	}
	st, err := tmp.Stat()
	if err != nil {
		return 0, err
	}
	if err := tmp.Sync(); err != nil {
		return 0, err
	}
	if err := os.Link(tmp.Name(), path); err != nil { // never over another file
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return st.Size(), dir.Sync()
}

func newRestore(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace the inventory with a backup",
		Long: `Checks a backup completely and replaces the inventory with it; the previous one is
kept beside it. The daemon must not run. In another state directory or on another machine
the restored inventory is a copy: stop the original, then run
renewer adopt --take-over --all; until then hosts refuse the copy.`,
		Example: "  renewer restore /var/backups/renewer.db",
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := c.fleet()
			if err != nil {
				return err
			}
			kept, err := daemon.Restore(f, args[0])
			if err != nil {
				return err
			}
			c.say("the inventory in %s was replaced with %s", f.StateDir, args[0])
			if kept != "" {
				c.say("the previous inventory is %s", kept)
			}
			return nil
		},
	}
}
