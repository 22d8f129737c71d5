package unithost

import (
	"context"
	"fmt"
	"net"
	"strings"
)

func listeners(port string) []string {
	return []string{"ss", "-H", "-l", "-t", "-n", "sport", "=", ":" + port}
}

// Listens reports whether anything listens on the port of an address on the host
// itself, by ss(8).
func Listens(ctx context.Context, m Machine, address string) (bool, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("address %q: %w", address, err)
	}
	out, err := m.Output(ctx, listeners(port))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "LISTEN") {
			return true, nil
		}
	}
	return false, nil
}
