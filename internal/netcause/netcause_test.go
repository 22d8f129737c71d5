package netcause

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

func TestAddressAndCallAreLeftOut(t *testing.T) {
	t.Parallel()
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: at, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	alert := &net.OpError{Op: "remote error", Err: tls.AlertError(42)}
	proxy := &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("forbidden")}
	for want, err := range map[string]error{
		"connection refused":         dial,
		"connection reset by peer":   &net.OpError{Op: "read", Net: "tcp", Source: at, Addr: at, Err: syscall.ECONNRESET},
		"connection refused ":        errors.New("connection refused "),
		alert.Error():                alert,
		proxy.Error():                &url.Error{Op: "Post", URL: "http://a", Err: proxy},
		"lookup away: no such host":  &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "away", Err: "no such host"}},
		syscall.EHOSTUNREACH.Error(): &url.Error{Op: "Get", URL: "http://a", Err: &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}},
	} {
		if got := Of(err); got.Error() != want {
			t.Errorf("%v: %q; want %q", err, got, want)
		}
	}
	if !errors.Is(Of(dial), syscall.ECONNREFUSED) || Of(nil) != nil {
		t.Error("the cause itself is lost")
	}
	if op := new(net.OpError); !errors.As(Of(alert), &op) {
		t.Error("an alert is no alert any more")
	}
}
