// Package netcause says why a connection failed, without the address: the text before it
// names that.
package netcause

import (
	"errors"
	"net"
	"net/url"
	"os"
)

// Of takes URL, address and system call off an error of net/http or net. A TLS alert, and
// what a proxy was asked, stay as they are.
func Of(err error) error {
	var (
		u    *url.Error
		op   *net.OpError
		call *os.SyscallError
	)
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.As(err, &op) && !kept[op.Op] {
		err = op.Err
	}
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}

var kept = map[string]bool{"remote error": true, "local error": true, "proxyconnect": true}
