package configs

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"renewer/renewer"
)

// placed fills in what the placements of an entry have in common.
func (r *resolver) placed(d *draft) {
	d.placed = renewer.Placement{Owner: get[string](&d.s, "owner"), Group: get[string](&d.s, "group"), Reloads: reloads(&d.s)}
	own := d.own.has("files") || d.own.has("modes") || r.defaults.has("files") || r.defaults.has("modes")
	if same, ok := r.layouts[d.profile]; ok && !own {
		d.placed.Files, d.placed.Modes = same.Files, same.Modes
		return
	}
	before := r.wrong()
	r.files(d)
	if d.faulty = r.wrong() > before; !own && !d.faulty {
		r.layouts[d.profile] = d.placed // one map for all of them, which no one changes
	}
}

// placement puts a certificate on one host.
func (r *resolver) placement(d *draft, c *renewer.Certificate, p *renewer.Placement, h *Host) {
	before := r.wrong()
	*p = d.placed
	p.Certificate, p.Host, p.Machine = c.Name, h.Name, h.machine
	p.Dir = r.dir(d, h)
	p.Activate = r.activation(d, h)
	p.Guard = r.guard(d, c, p.Activate, h)
	p.Probe = r.probe(d, c, p, h)
	if !d.faulty && r.wrong() == before && p.Dir != "" {
		r.claim(d, p, h)
	}
}

func (r *resolver) dir(d *draft, h *Host) string {
	if !d.s.has("dir") && d.s.has("secret") {
		return ""
	}
	if !d.s.has("dir") {
		r.fault(d.at, fmt.Sprintf("profile %s has no dir", d.profile.Name), "expected dir: "+aPath)
		return ""
	}
	dir := expand(get[string](&d.s, "dir"), h)
	if dir == "" {
		return ""
	}
	if !isPath(dir) || slices.Contains(strings.Split(dir, "/"), ".renewer") {
		r.fault(d.where("dir"), quote(dir)+" is not a usable directory", "expected "+aPath+" and outside of any .renewer")
	}
	return path.Clean(dir)
}

// files names the files and their modes.
func (r *resolver) files(d *draft) {
	files, modes := get[settings](&d.s, "files"), get[settings](&d.s, "modes")
	p := &d.placed
	p.Files, p.Modes = map[renewer.FileKind]string{}, map[renewer.FileKind]fs.FileMode{}
	at := func(k renewer.FileKind) pos { return files[string(k)].at.or(d.where("files")) }
	by := map[string]renewer.FileKind{}
	for _, k := range renewer.FileKinds {
		name := get[string](files, string(k))
		if name == "" {
			if own := get[settings](d.own, "modes"); own[string(k)].value != nil {
				r.fault(own[string(k)].at, fmt.Sprintf("a mode for a %s file, which the entry does not have", k), "expected modes only for files of the entry")
			}
			continue
		}
		if other, twice := by[name]; twice {
			r.fault(at(k), fmt.Sprintf("the %s file and the %s file have the same name, %s", other, k, quote(name)), "expected different names")
		}
		by[name] = k
		p.Files[k], p.Modes[k] = name, getOr(modes, string(k), defaultMode(k))
		if d.bundle && k != renewer.FileCA {
			r.fault(at(k), fmt.Sprintf("a trust bundle has no certificate, so it cannot have a %s file", k), "expected only files: {ca: NAME}")
		}
	}
	has := func(kinds ...renewer.FileKind) bool {
		return slices.ContainsFunc(kinds, func(k renewer.FileKind) bool { return p.Files[k] != "" })
	}
	for k, f := range files {
		if f.value == nil || notYet["file "+k] != "" {
			return // has a fault of its own
		}
	}
	if d.s.has("files") && files == nil {
		return
	}
	switch {
	case d.bundle && !has(renewer.FileCA):
		r.fault(d.where("files"), "the trust bundle has no file", "expected files: {ca: NAME}")
	case !d.bundle && !has(renewer.FileKey, renewer.FileBundle):
		r.fault(d.where("files"), "no file for the private key", "expected a key or a bundle among the files")
	case !d.bundle && !has(renewer.FileCert, renewer.FileLeaf, renewer.FileBundle):
		r.fault(d.where("files"), "no file for the certificate", "expected a cert, a leaf or a bundle among the files")
	}
}

// activation is the entry's, with placeholders replaced.
func (r *resolver) activation(d *draft, h *Host) renewer.Activation {
	a := getOr(&d.s, "activate", renewer.Activation{Kind: renewer.ActivateNone, Timeout: defaultActivateTimeout})
	set, _ := d.s.find("activate")
	at := set.at.or(d.at)
	if set.at == (pos{}) {
		r.refuseOf(d.where("profile"), "activate "+string(a.Kind), " (of profile "+d.profile.Name+")")
	}
	if a.Kind == renewer.ActivateSystemd && len(a.Units) == 0 {
		r.fault(at, "systemd has no units", "expected activate: {systemd: {units: [NAME.service], action: restart}}")
	}
	if a.Kind != renewer.ActivateNone && a.Budget == 0 { // the service has it, however it is restarted
		a.Budget = get[renewer.Activation](d.profile.settings, "activate").Budget
	}
	way := string(a.Kind)
	switch {
	case a.Kind == renewer.ActivateDocker && a.Action == "kill":
		way = "signal"
	case a.Kind == renewer.ActivateSystemd && a.Action == "reload":
		way = "reload"
	}
	if reason := get[string](get[settings](d.profile.settings, "refuse"), way); reason != "" {
		r.fault(at, fmt.Sprintf("activation by %s is not safe with profile %s: %s", way, d.profile.Name, reason), "expected systemd with action: restart")
	}
	a.Units, a.Command = expandAll(a.Units, h), expandAll(a.Command, h)
	a.PIDFile, a.Container = expand(a.PIDFile, h), expand(a.Container, h)
	if a.PIDFile != "" && !isPath(a.PIDFile) {
		r.fault(at, "pid_file "+quote(a.PIDFile)+" is not a usable path", "expected "+aPath)
	}
	for _, u := range a.Units {
		if !unitName.MatchString(u) {
			r.fault(at, quote(u)+" is not the name of a unit", "expected a unit such as docker.service")
		}
	}
	return a
}

// probe is the entry's, with placeholders replaced.
func (r *resolver) probe(d *draft, c *renewer.Certificate, placed *renewer.Placement, h *Host) renewer.Probe {
	set := getOr(&d.s, "probe", probeSetting{Probe: renewer.Probe{Kind: renewer.ProbeFile, Timeout: defaultProbeTimeout}})
	x, _ := d.s.find("probe")
	p, at := set.Probe, x.at.or(d.at)
	if x.at == (pos{}) {
		r.refuseOf(d.where("profile"), "probe "+string(p.Kind), " (of profile "+d.profile.Name+")")
	}
	p.Command, p.ServerName = expandAll(p.Command, h), expand(p.ServerName, h)
	if p.Address == "" {
		return p
	}
	p.Address = expandHostPort(p.Address, h)
	if !isHostPort(p.Address, 1) {
		r.fault(at, "the probe's address "+quote(p.Address)+" is not a valid address", "expected "+aHostPort)
	}
	if p.ServerName != "" && !isAddress(p.ServerName) {
		r.fault(at, "server_name "+quote(p.ServerName)+" is not a valid name", "expected a DNS name or an IP address")
	}
	if !slices.Contains(c.Usages, renewer.UsageServer) {
		r.fault(at, fmt.Sprintf("probe %s needs a server certificate", p.Kind), "expected usage server, or probe: file, command or none")
	}
	if p.Mutual = placed.Files[renewer.FileCA] != ""; set.mutual != nil {
		p.Mutual = *set.mutual
	}
	if p.Client != "" {
		r.clients = append(r.clients, clientUse{c.Name, h.Name, p.Client, set.client.or(at)})
		p.Mutual = true
	}
	return p
}

// claim is a file on a machine: nil for this one, which all local hosts are.
type claim struct {
	machine   *Host
	dir, name string
}

// claim records the files of a placement and refuses those that another has.
func (r *resolver) claim(d *draft, p *renewer.Placement, h *Host) {
	file := claim{h, path.Join(h.Root, p.Dir), ""}
	if h.Type == "local" {
		file.machine = nil
	}
	var taken map[*renewer.Placement][]string
	for _, k := range renewer.FileKinds {
		var ok bool
		if file.name, ok = p.Files[k]; !ok {
			continue
		}
		other := r.claims[file]
		if other == nil {
			r.claims[file] = p
			continue
		}
		if taken == nil {
			taken = map[*renewer.Placement][]string{}
		}
		taken[other] = append(taken[other], file.name)
	}
	for other, names := range taken {
		r.fault(d.at, fmt.Sprintf("%s and %s both claim %s in %s on host %s", other.ID(), p.ID(), strings.Join(names, ", "), file.dir, h.Name),
			"expected another dir, or other file names")
	}
}

// reloads is what the service does by itself when its files change. Where
// nothing is activated, what reads the files is taken to read them by itself,
// unless it is said that it does not read new roots.
func reloads(s source) renewer.Reloads {
	given := get[settings](s, "reloads")
	leaf, trust := get[string](given, "leaf"), get[string](given, "trust")
	if trust == "" && getOr(s, "activate", renewer.Activation{Kind: renewer.ActivateNone}).Kind == renewer.ActivateNone {
		trust = "automatic"
		leaf = getOr(given, "leaf", trust)
	}
	return renewer.Reloads{Leaf: leaf == "automatic", Trust: trust == "automatic"}
}
