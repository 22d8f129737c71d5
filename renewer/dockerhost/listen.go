package dockerhost

import (
	"net"
	"slices"
	"strings"

	"renewer/internal/pattern"
)

// desiredDropIn returns the drop-in, empty where none is needed, and
// daemon.json without hosts where they moved there.
func (pl *planner) desiredDropIn(d document) (string, document, error) {
	unitHosts, envHosts := addressesOf(pl.cmd.flags), addressesOf(pl.cmd.env)
	clash := d.has("hosts") && len(unitHosts)+len(envHosts) > 0
	own := slices.Concat(unitHosts, pl.fileHosts)
	drops := pl.dropped(d)
	pl.plaintext(slices.Concat(own, envHosts))
	bySocket, err := pl.bySocket(slices.Concat(own, envHosts))
	if err != nil {
		return "", nil, err
	}
	pl.socketed = bySocket
	bindable := len(pl.bindable(slices.Clone(own), envHosts)) == len(own)
	if !pl.f.DropIn.Exists && !clash && len(drops) == 0 && bindable && pl.covered(slices.Concat(own, envHosts)) {
		return "", d, nil
	}
	if !pl.f.DropIn.Exists && len(pl.f.Listening) > 0 && !pl.socketed && !slices.ContainsFunc(slices.Concat(own, envHosts), pl.samePort) {
		pl.note("another process already listens on port %s (%s): if it is not dockerd, dockerd will not start, and all changes are rolled back", pl.port, strings.Join(pl.f.Listening, ", "))
	}
	if pl.cmd.late != "" {
		return "", nil, misconfigured("merge it into another drop-in, or give it a name that sorts before "+dropInName,
			"%s sets ExecStart= and is read after %s, so it would override what renewer writes there", pl.cmd.late, dropInName)
	}
	if d.has("hosts") {
		if clash {
			pl.note("%s has hosts and %s has -H, so dockerd cannot start: the addresses in hosts move to %s", pl.f.Daemon.Path, pl.f.Unit.Name, pl.f.DropIn.Path)
		} else {
			pl.note("the addresses in hosts of %s move to %s", pl.f.Daemon.Path, pl.f.DropIn.Path)
		}
		d = d.remove("hosts")
	}
	want := pl.addresses(unitHosts, envHosts)
	for _, h := range want {
		if !slices.Contains(unitHosts, h) && (!plainAddress.MatchString(h) || h == "") {
			return "", nil, misconfigured("correct it by hand", "%q in hosts of %s, or in %s, is not an address", h, pl.f.Daemon.Path, pl.f.DropIn.Path)
		}
	}
	drop := func(fl directive) bool {
		return slices.ContainsFunc(drops, func(d directive) bool { return d.words[0] == fl.words[0] }) ||
			fl.key == "hosts" && !slices.Contains(want, fl.value)
	}
	for _, fl := range drops {
		pl.note("the flag --%s of %s is removed: %s has the setting, and dockerd does not start with both", flagName(fl), pl.f.Unit.Name, pl.f.Daemon.Path)
	}
	return pl.cmd.dropIn(pl.f.Daemon.Path, want, drop), d, nil
}

// addresses are what the drop-in listens on: all that the unit, the drop-in and
// daemon.json have, and the probe's port.
func (pl *planner) addresses(unitHosts, envHosts []string) []string {
	want := slices.Clone(unitHosts)
	for _, h := range slices.Concat(addressesOf(oursIn(pl.f.DropIn)), pl.fileHosts) {
		switch {
		case slices.Contains(want, h) || slices.Contains(envHosts, h):
		case isLocalSocket(h) && slices.ContainsFunc(slices.Concat(want, envHosts), isLocalSocket):
			pl.note("%s is removed: dockerd has that socket already", h)
		default:
			want = append(want, h)
		}
	}
	if len(want)+len(envHosts) == 0 {
		want = append(want, localSocket) // dockerd's default, as long as there is no -H
	}
	if !pl.covered(slices.Concat(want, envHosts)) {
		want = append(want, pl.address())
	}
	return pl.bindable(want, envHosts)
}

// bindable leaves out what cannot be bound beside others: where all addresses
// of the port are, one alone cannot be.
func (pl *planner) bindable(want, envHosts []string) []string {
	inEnv := slices.DeleteFunc(slices.Clone(envHosts), func(h string) bool { return !pl.samePort(h) })
	all := ""
	if i := slices.IndexFunc(want, func(h string) bool { return pl.samePort(h) && isWildcard(h) }); i >= 0 {
		all = want[i]
	}
	return slices.DeleteFunc(want, func(h string) bool {
		switch {
		case !pl.samePort(h):
			return false
		case pl.socketed:
			return true
		case slices.ContainsFunc(inEnv, isWildcard):
			return true
		case len(inEnv) > 0:
			return isWildcard(h) || slices.Contains(inEnv, h)
		default:
			return all != "" && h != all
		}
	})
}

// plaintext says which addresses spoke without TLS until now.
func (pl *planner) plaintext(listen []string) {
	var on bool
	_, _ = pl.daemon.get("tlsverify", &on)
	on = on || slices.ContainsFunc(slices.Concat(pl.cmd.flags, pl.cmd.env), func(f directive) bool { return f.key == "tlsverify" && f.value != "false" })
	for _, h := range listen {
		if !on && strings.HasPrefix(h, "tcp://") {
			pl.note("%s was open to clients without a certificate; from now on they are refused", h)
		}
	}
}

// address is what the drop-in adds.
func (pl *planner) address() string { return "tcp://0.0.0.0:" + pl.port }

// plainAddress is what may come into a unit's file as it is: nothing that
// systemd or dockerd would take for more than an address.
var plainAddress = pattern.New(`^([a-z]+://)?[A-Za-z0-9_.:/\[\]@-]*$`)

// covered reports whether clients are answered at the probe's port by one of
// the addresses. One of the machine's own addresses counts: somebody chose it.
func (pl *planner) covered(listen []string) bool {
	return pl.socketed || slices.ContainsFunc(listen, func(h string) bool { return pl.samePort(h) && !isLoopback(h) })
}

// samePort of a -H address; without a port dockerd takes 2376 (dockerd(8)).
func (pl *planner) samePort(h string) bool {
	_, port, ok := tcp(h)
	return ok && port == pl.port
}

func tcp(h string) (host, port string, ok bool) {
	rest, ok := strings.CutPrefix(h, "tcp://")
	if !ok && strings.Contains(h, "://") {
		return "", "", false
	}
	rest, _, _ = strings.Cut(rest, "/")
	if host, port, err := net.SplitHostPort(rest); err == nil && port != "" {
		return host, port, true
	}
	return strings.Trim(rest, "[]:"), "2376", true
}

func isLoopback(h string) bool {
	host, _, ok := tcp(h)
	ip := net.ParseIP(host)
	return ok && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func isWildcard(h string) bool {
	host, _, ok := tcp(h)
	ip := net.ParseIP(host)
	return ok && (host == "" || ip != nil && ip.IsUnspecified())
}

func isLocalSocket(h string) bool {
	return h == "fd://" || h == localSocket || h == "unix:///run/docker.sock" || h == "unix://"
}
