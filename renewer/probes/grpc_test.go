package probes

import (
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// FuzzServing: whatever a server sends, it is no health check's answer, or what
// the protocol's own package reads in it.
func FuzzServing(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x02\x08\x02", "\x01\x00\x00\x00\x00", "\x00\xff\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := serving(body)
		if err != nil {
			return
		}
		var want healthpb.HealthCheckResponse
		if err := proto.Unmarshal(body[5:], &want); err != nil {
			t.Fatal(err)
		}
		if healthpb.HealthCheckResponse_ServingStatus(got) != want.GetStatus() {
			t.Errorf("%d, want %d", got, want.GetStatus())
		}
	})
}

func TestServing(t *testing.T) {
	t.Parallel()
	for _, status := range []healthpb.HealthCheckResponse_ServingStatus{
		healthpb.HealthCheckResponse_UNKNOWN, healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVICE_UNKNOWN,
	} {
		message, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: status})
		if err != nil {
			t.Fatal(err)
		}
		got, err := serving(append([]byte{0, 0, 0, 0, byte(len(message))}, message...))
		if err != nil || healthpb.HealthCheckResponse_ServingStatus(got) != status || (healthAnswer{serving: got}).word() != status.String() {
			t.Errorf("%s: %d, %v", status, got, err)
		}
	}
	if got := saidBy("no%20such%0aservice %zz"); got != "no%20such%0aservice %zz" {
		t.Errorf("%q", got)
	}
	if got := saidBy("no%20such%0aservice"); got != "no such service" {
		t.Errorf("%q", got)
	}
}
