package configs

import (
	_ "embed"
	"fmt"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

//go:embed profiles.yaml
var profilesYAML []byte

// Profile is a named set of settings for one kind of service, in a form to be
// shown. Fields that a certificate has to set itself are empty.
type Profile struct {
	Name        string            `json:"name" yaml:"name"`
	Description string            `json:"description,omitempty" yaml:"description,omitempty"`
	Source      string            `json:"source" yaml:"source"` // built-in, overridden, fleet file
	Usages      []renewer.Usage   `json:"usages" yaml:"usages"` // none: the trust bundle alone
	Dir         string            `json:"dir,omitempty" yaml:"dir,omitempty"`
	Files       []ProfileFile     `json:"files" yaml:"files"`
	SANs        []string          `json:"default_sans" yaml:"default_sans"`
	Activate    string            `json:"activate" yaml:"activate"` // such as: systemd restart docker.service
	Probe       string            `json:"probe" yaml:"probe"`       // such as: docker {address}:2376
	Reloads     map[string]string `json:"reloads,omitempty" yaml:"reloads,omitempty"`

	settings settings
	sorted   []renewer.Usage // usages, server before client
}

// ProfileFile is one file of a profile.
type ProfileFile struct {
	Kind renewer.FileKind `json:"kind" yaml:"kind"`
	Name string           `json:"name" yaml:"name"`
	Mode string           `json:"mode" yaml:"mode"` // four octal digits
}

// BuiltinProfiles returns the profiles that come with renewer.
func BuiltinProfiles() []Profile { return slices.Clone(builtin()) }

var builtin = sync.OnceValue(func() []Profile {
	l := &loader{file: "profiles.yaml", builtin: true}
	root := l.document(profilesYAML)
	var out []Profile
	if root != nil {
		items, _ := dictionary("profiles", named(plainName, aName), profileReader)(l, pos{}, root)
		for _, it := range items.([]item) {
			out = append(out, newProfile(it.name, "built-in", it.value.(settings)))
		}
	}
	if len(l.faults) > 0 {
		panic(l.faults) // data of the program itself, which a test reads
	}
	return out
})

func profileReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	return l.object(at, n, "a profile", profileSchema)
}

// profiles are the built-in ones with those of the file laid over them.
func (l *loader) profiles(s settings) []Profile {
	out := BuiltinProfiles()
	for _, it := range get[[]item](s, "profiles") {
		own, _ := it.value.(settings)
		if i := slices.IndexFunc(out, func(p Profile) bool { return p.Name == it.name }); i >= 0 {
			out[i] = newProfile(it.name, "overridden", over(out[i].settings, own))
			continue
		}
		if own != nil && !own.has("usages") {
			l.fault(it.at, "profile "+quote(it.name)+" has no usages", "expected usages: [server], [client] or both; [] for a trust bundle alone")
		}
		if own != nil && len(get[settings](own, "files")) == 0 {
			l.fault(it.at, "profile "+quote(it.name)+" has no files", "expected files: {ca: …, cert: …, key: …}")
		}
		out = append(out, newProfile(it.name, "fleet file", own))
	}
	return out
}

func newProfile(name, source string, s settings) Profile {
	p := Profile{
		Name: name, Source: source, Description: get[string](s, "description"), Dir: get[string](s, "dir"),
		Usages: []renewer.Usage{}, SANs: append([]string{}, texts(s, "sans")...),
		Activate: showActivation(getOr(s, "activate", renewer.Activation{Kind: renewer.ActivateNone})),
		Probe:    getOr(s, "probe", probeSetting{Probe: renewer.Probe{Kind: renewer.ProbeFile}}).String(),
		Files:    []ProfileFile{}, settings: s,
	}
	for _, u := range texts(s, "usages") {
		p.Usages = append(p.Usages, renewer.Usage(u))
	}
	p.sorted = usagesOf(s)
	files, modes := get[settings](s, "files"), get[settings](s, "modes")
	for _, k := range renewer.FileKinds {
		if file := get[string](files, string(k)); file != "" {
			p.Files = append(p.Files, ProfileFile{k, file, fmt.Sprintf("%04o", getOr(modes, string(k), defaultMode(k)))})
		}
	}
	for k, v := range get[settings](s, "reloads") {
		if p.Reloads == nil {
			p.Reloads = map[string]string{}
		}
		p.Reloads[k], _ = v.value.(string)
	}
	return p
}

func showActivation(a renewer.Activation) string {
	if a.Kind == renewer.ActivateSystemd && len(a.Units) == 0 {
		return a.String() + "(units given by the certificate)"
	}
	return a.String()
}
