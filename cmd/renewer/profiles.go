package main

import (
	"errors"

	"github.com/spf13/cobra"

	"renewer/configs"
)

func newProfiles(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "profiles",
		Short:   "Show the profiles: the built-in ones and those of the fleet file",
		Example: "  renewer profiles\n  renewer profiles -o yaml",
		RunE: func(*cobra.Command, []string) error {
			profiles := configs.BuiltinProfiles()
			switch f, err := c.fleet(); {
			case err == nil:
				profiles = f.Profiles
			case !errors.Is(err, errNoFleet):
				return err
			}
			out := listOf(c, []string{"profile", "usages", "files", "default_sans", "activate", "probe", "source"}, profileCells)
			return out.all(profiles, "no profiles")
		},
	}
}

func profileCells(p configs.Profile) []any {
	var usages, files []string
	for _, u := range p.Usages {
		usages = append(usages, string(u))
	}
	for _, f := range p.Files {
		files = append(files, f.Name+" "+f.Mode)
	}
	dir := p.Dir
	if dir == "" {
		dir = "(dir required)"
	}
	return []any{p.Name, usages, append([]string{dir + ":"}, files...), p.SANs, p.Activate, p.Probe, p.Source}
}
