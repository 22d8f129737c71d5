package dockerhost

import (
	"context"
	"net"
	"slices"
	"strings"
)

// Socket is one address that a socket unit listens on (systemd.socket(5)): a
// service that it starts gets it by -H fd://.
type Socket struct {
	Unit    string
	Address string // as systemd has it: [::]:2376, /run/docker.sock
	Starts  []string
	Active  bool // systemd listens there now
}

func inspectSockets(ctx context.Context, m Machine) (found []Socket, err error) {
	out, err := m.Output(ctx, showSockets())
	if err != nil {
		return nil, err
	}
	for block := range strings.SplitSeq(out, "\n\n") { // one a unit, its properties in any order
		var s Socket
		var listen []string
		loaded := false
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch name {
			case "Id":
				s.Unit = value
			case "LoadState":
				loaded = value == "loaded"
			case "ActiveState":
				s.Active = value == "active"
			case "Triggers":
				s.Starts = strings.Fields(value)
			case "Listen": // ADDRESS (Stream), a line or a word for each
				for part := range strings.SplitSeq(value, ")") {
					if address, kind, ok := strings.Cut(strings.TrimSpace(part), " ("); ok && kind == "Stream" {
						listen = append(listen, address)
					}
				}
			}
		}
		for _, address := range listen {
			if s.Address = address; loaded {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// tcpAddress is the socket's address as dockerd would write it; empty for one
// that is no TCP port. A port alone is one of all addresses.
func (s Socket) tcpAddress() string {
	if _, _, err := net.SplitHostPort(s.Address); err == nil {
		return "tcp://" + s.Address
	}
	if s.Address != "" && strings.Trim(s.Address, "0123456789") == "" {
		return "tcp://:" + s.Address
	}
	return ""
}

// bySocket looks for the probe's port among the socket units. covered: dockerd
// gets it by fd://, open to others. An error says that dockerd cannot have it.
func (pl *planner) bySocket(listen []string) (covered bool, err error) {
	unit := pl.f.Unit.Name
	for _, s := range pl.f.Sockets {
		at := s.tcpAddress()
		if at == "" || !pl.samePort(at) || !s.Active {
			continue
		}
		switch {
		case !slices.Contains(s.Starts, unit):
			return false, misconfigured("on the host: systemctl disable --now "+s.Unit+", or use another port for Docker",
				"%s listens on port %s%s, so dockerd cannot", s.Unit, pl.port, strings.TrimSuffix(" for "+strings.Join(s.Starts, ", "), " for "))
		case !slices.Contains(listen, "fd://"):
			return false, misconfigured("on the host: systemctl disable --now "+s.Unit+"; then dockerd listens itself",
				"%s listens on port %s for %s, which does not use the socket: it has no -H fd://", s.Unit, pl.port, unit)
		case isLoopback(at):
			return false, misconfigured("on the host: systemctl disable --now "+s.Unit+"; then dockerd listens for all",
				"%s listens on %s, loopback only, so dockerd cannot bind port %s on other addresses", s.Unit, s.Address, pl.port)
		default:
			covered = true
			pl.note("port %s is passed by %s (-H fd://): dockerd serves TLS there too", pl.port, s.Unit)
		}
	}
	return covered, nil
}
