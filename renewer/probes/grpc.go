package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"renewer/renewer"
)

// grpcHealth asks for the health of the whole server (gRPC Health Checking
// Protocol, Check with an empty service name).
func (p *Prober) grpcHealth(ctx context.Context, v *visit, r renewer.ProbeRequest) error {
	address := r.Placement.Probe.Address
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	var handed atomic.Bool
	// TLS is done: "insecure" means that gRPC does not do it a second time.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if !handed.CompareAndSwap(false, true) {
				return nil, errors.New("the server closed the connection")
			}
			return stream{v.conn, v}, nil
		}))
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch code := status.Code(err); {
	case code == codes.OK && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING:
		return nil
	case code == codes.OK:
		return unhealthy(address, "it says "+answer.GetStatus().String(), "look at the service's log")
	case code == codes.Unimplemented:
		return unhealthy(address, "it has no health service", "use a probe of kind tls")
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
		return v.broken(ctx, address, err)
	default:
		return unhealthy(address, err.Error(), "look at the service's log")
	}
}

func unhealthy(address, why, hint string) error {
	return &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: renewer.WithHint(
		fmt.Errorf("%s is not a healthy gRPC server: %s", address, why), hint)}
}
