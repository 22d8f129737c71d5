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
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"`
				Go      string `json:"go"`
				Arch    string `json:"platform"`
			}{versionText(), commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return c.object(v, func() error {
				_, err := fmt.Fprintln(c.out, versionLine())
				return err
			})
		},
	}
}

func versionLine() string {
	built := ""
	if commit := commit(); commit != "" {
		built = " (commit " + commit + ")"
	}
	return fmt.Sprintf("renewer %s%s %s %s/%s", versionText(), built, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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
