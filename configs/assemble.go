package configs

import (
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Defaults of the sections.
const (
	defaultListen = "127.0.0.1:9925"
	defaultCheck  = "@every 10m"
	defaultProbe  = "@every 1h"
)

// readers reads the group whose members may read on the socket. They cannot reach one
// in the state directory, which is closed to all but its owner.
func (l *loader) readers(f *Fleet, api settings) {
	f.SocketGroup = get[string](api, "socket_group")
	if f.SocketGroup != "" && strings.HasPrefix(f.Socket, f.StateDir+"/") {
		l.fault(api["socket_group"].at, "the members of socket_group cannot reach the socket "+quote(f.Socket)+" in state_dir",
			"expected api: {socket: PATH} as well, in a directory that they can enter, such as /run/renewer/renewer.sock")
	}
}

// fleet reads the whole document. What it returns is of use only without faults.
func (l *loader) fleet(root *yaml.Node) *Fleet {
	s, ok := l.object(l.locate(root), root, "the fleet file", fleetSchema)
	if !ok {
		return nil
	}
	if !l.include(s) {
		return nil
	}
	f := &Fleet{Path: l.file, Name: get[string](s, "fleet"), StateDir: get[string](s, "state_dir"), windows: map[string]Window{}, reading: l.reading}
	if !s.has("state_dir") {
		l.noStateDir(l.locate(root))
	}
	f.Socket = socketOf(s)
	l.readers(f, get[settings](s, "api"))
	if len(f.Socket) > longestSocket {
		at := s["state_dir"].at
		if api := get[settings](s, "api"); api.has("socket") {
			at = api["socket"].at
		}
		l.fault(at, fmt.Sprintf("the path of the socket, %s, is too long for the system", quote(f.Socket)),
			fmt.Sprintf("expected at most %d bytes; api: {socket: PATH} sets it", longestSocket))
	}
	l.http(f, get[settings](s, "http"))
	sched := get[settings](s, "schedule")
	check := getOr(sched, "check", mustSchedule(defaultCheck))
	probe := getOr(sched, "probe", mustSchedule(defaultProbe))
	f.Schedule.Check, f.Schedule.CheckSpec = check.Schedule, check.spec
	f.Schedule.Probe, f.Schedule.ProbeSpec = probe.Schedule, probe.spec
	f.SealIdentityFile = getOr(get[settings](s, "seal"), "identity_file", filepath.Join(f.StateDir, "seal.key"))
	for _, it := range get[[]item](s, "issuers") {
		issuer, _ := it.value.(Issuer)
		issuer.Name = it.name
		issuer.locate(f.StateDir)
		f.Issuers = append(f.Issuers, issuer)
	}
	for _, it := range get[[]item](s, "windows") {
		if w, ok := it.value.(Window); ok { // else it has a fault, and no times
			w.Name = it.name
			f.windows[it.name] = w
		}
	}
	f.Hosts, f.hosts = l.hosts(get[[]item](s, "hosts"))
	l.challengeHosts(f, get[[]item](s, "issuers"))
	f.Profiles = l.profiles(s)
	f.Channels = l.channels(get[[]setting](s, "notify"))
	newResolver(l, f, s).certificates(get[[]setting](s, "certificates"))
	return f
}
