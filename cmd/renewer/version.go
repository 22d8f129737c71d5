package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of the program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"`
				Go      string `json:"go"`
				Arch    string `json:"platform"`
			}{versionText(), commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return c.object(v, func() error {
				fmt.Fprintf(c.out, "renewer %s", v.Version)
				if v.Commit != "" {
					fmt.Fprintf(c.out, " (commit %s)", v.Commit)
				}
				fmt.Fprintf(c.out, " %s %s\n", v.Go, v.Arch)
				return nil
			})
		},
	}
}

// versionText is what the build set, or what Go knows of the module.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func commit() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
