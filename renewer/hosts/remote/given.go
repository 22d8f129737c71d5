package remote

import "path"

// below puts the host's root before paths.
func (t *Transport) below(paths []string) []string {
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		out = append(out, path.Join("/", t.cfg.Root, p))
	}
	return out
}
