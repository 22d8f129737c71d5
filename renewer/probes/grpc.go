package probes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"renewer/renewer"
)

// grpcHealth asks for the health of the whole server (gRPC Health Checking
// Protocol, Check with an empty service name): one request of HTTP/2 over the
// connection that is there.
func (p *Prober) grpcHealth(ctx context.Context, v *visit, r renewer.ProbeRequest) error {
	address := r.Placement.Probe.Address
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	answer, err := askHealth(ctx, v, address)
	if err != nil {
		return v.broken(ctx, address, err)
	}
	switch code := answer.code; {
	case code == grpcOK && answer.serving == 1:
		return nil
	case code == grpcOK:
		return unhealthy(address, "the service says "+answer.word(), "check the log of the service")
	case code == grpcUnimplemented:
		return unhealthy(address, "it has no gRPC health service", "use a probe of kind tls")
	case code == grpcUnavailable, code == grpcDeadlineExceeded, code == grpcCancelled:
		return v.broken(ctx, address, errors.New(answer.message))
	default:
		return unhealthy(address, "status "+code+": "+answer.message, "check the log of the service")
	}
}

func unhealthy(address, why, hint string) error {
	return &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: renewer.WithHint(
		fmt.Errorf("%s is not a healthy gRPC server: %s", address, why), hint)}
}

// Status codes of gRPC (doc/statuscodes.md), as they stand in grpc-status.
const (
	grpcOK               = "0"
	grpcCancelled        = "1"
	grpcUnknown          = "2"
	grpcDeadlineExceeded = "4"
	grpcUnimplemented    = "12"
	grpcUnavailable      = "14"
)

// healthAnswer is the answer to a check.
type healthAnswer struct {
	code    string
	message string
	serving uint64 // ServingStatus
}

func (h healthAnswer) word() string {
	words := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if h.serving >= uint64(len(words)) {
		return fmt.Sprint(h.serving)
	}
	return words[h.serving]
}

func askHealth(ctx context.Context, v *visit, address string) (healthAnswer, error) {
	a, err := call(ctx, v, address, "/grpc.health.v1.Health/Check", maxAnswer)
	h := healthAnswer{code: a.code, message: a.message}
	if err == nil && h.code == grpcOK {
		h.serving, err = serving(a.body)
	}
	return h, err
}

// grpcAnswer is the answer to a call: a status and, where that is OK, a frame with a
// message.
type grpcAnswer struct {
	code    string
	message string
	body    []byte
}

// call makes one gRPC call with an empty message over the connection that is there.
func call(ctx context.Context, v *visit, address, method string, limit int64) (grpcAnswer, error) {
	var handed atomic.Bool
	transport := &http.Transport{
		Protocols: new(http.Protocols), DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if !handed.CompareAndSwap(false, true) {
				return nil, errors.New("the server closed the connection")
			}
			return stream{v.conn, v}, nil
		},
	}
	transport.Protocols.SetUnencryptedHTTP2(true) // TLS is done
	defer transport.CloseIdleConnections()
	const nothing = "\x00\x00\x00\x00\x00" // a frame with an empty message
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+method, strings.NewReader(nothing))
	if err != nil {
		return grpcAnswer{}, err
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"renewer"}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return grpcAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return grpcAnswer{}, err
	case int64(len(body)) > limit:
		return grpcAnswer{}, fmt.Errorf("its answer has more than %d bytes", limit)
	case resp.StatusCode != http.StatusOK:
		return grpcAnswer{code: map[int]string{
			http.StatusNotFound: grpcUnimplemented, http.StatusTooManyRequests: grpcUnavailable, http.StatusBadGateway: grpcUnavailable,
			http.StatusServiceUnavailable: grpcUnavailable, http.StatusGatewayTimeout: grpcUnavailable,
		}[resp.StatusCode], message: "HTTP status " + resp.Status}, nil
	}
	return grpcAnswer{
		code:    cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"), grpcUnknown), // the latter without a body
		message: saidBy(cmp.Or(resp.Trailer.Get("Grpc-Message"), resp.Header.Get("Grpc-Message"))),
		body:    body,
	}, nil
}

// saidBy makes one line of a grpc-message, which is percent-encoded.
func saidBy(message string) string {
	if plain, err := url.PathUnescape(message); err == nil {
		message = plain
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(message, "?")), " ")
}

// serving reads the status, field 1 of a HealthCheckResponse, in the frame of
// an answer. A field that is left out is 0.
func serving(body []byte) (status uint64, err error) {
	broken := errors.New("its answer is not a health check response")
	message, ok := unframed(body)
	if !ok {
		return 0, broken
	}
	for in := bytes.NewReader(message); in.Len() > 0; {
		tag, err := binary.ReadUvarint(in)
		if err != nil || tag>>3 != 1 || tag&7 != 0 { // the message has had no other field
			return 0, broken
		}
		if status, err = binary.ReadUvarint(in); err != nil {
			return 0, broken
		}
	}
	return status, nil
}

// unframed takes the frame off the one message of an answer.
func unframed(body []byte) (message []byte, ok bool) {
	if len(body) < 5 || body[0] != 0 || uint64(len(body)-5) != uint64(binary.BigEndian.Uint32(body[1:5])) {
		return nil, false
	}
	return body[5:], true
}
