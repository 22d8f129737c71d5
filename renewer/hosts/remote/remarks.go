package remote

import "fmt"

// Remark is what of this account's SSH files is done without for a host.
type Remark struct{ Text, Fix string }

// Remarks are what was, or will be, logged about the files that say how the host is reached:
// it works, and somebody meant more. Files that cannot be read are for who connects.
func (t *Transport) Remarks() (out []Remark) {
	to, err := t.client.resolve(t.cfg)
	if err != nil {
		return nil
	}
	var from []*knownHosts
	for _, file := range to.known {
		if k, err := t.client.known.get(file, t.client.readKnownHosts); err == nil {
			from = append(from, k)
		}
	}
	if to.revoked != "" {
		if k, err := t.client.revoked.get(to.revoked, t.client.readRevoked); err == nil {
			from = append(from, k)
		}
	}
	for _, k := range from {
		for _, s := range k.skipped {
			out = append(out, Remark{
				fmt.Sprintf("%s:%d is ignored: %s (%v)", k.name, s.at, s.what(), s.why),
				fmt.Sprintf("run sed -n %dp %s to see the line; complete it, or remove it", s.at, k.name),
			})
		}
	}
	for _, what := range to.undone {
		out = append(out, Remark{"renewer does not support this setting of the ssh configuration: " + what, "set address:, port:, user:, identity_file:, known_hosts_file: or jump: of the host in the fleet file instead"})
	}
	for _, err := range to.unset {
		out = append(out, Remark{"a value of the ssh configuration is ignored: " + err.Error(), "set the variable for renewer (Environment= in renewer.service), or write the full path"})
	}
	return out
}
