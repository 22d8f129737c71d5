package dagupeer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/encoding"
)

// The service is spoken in JSON, without generated code: one message for all.

// message is what is asked and answered.
type message struct {
	Run     *Run     `json:"run,omitempty"`
	Worker  string   `json:"worker,omitempty"`
	Pollers int      `json:"pollers,omitempty"`
	Active  []string `json:"active,omitempty"` // runs
}

type codec struct{}

func (codec) Name() string                       { return "dagupeer-json" }
func (codec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (codec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

func init() { encoding.RegisterCodec(codec{}) }

const service = "dagupeer.Coordinator"

// method wraps what answers one call.
func method(name string, answer func(*Coordinator, context.Context, message) (message, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in message
		if err := decode(&in); err != nil {
			return nil, err
		}
		return answer(srv.(*Coordinator), ctx, in)
	}}
}

var description = grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
	method("Dispatch", (*Coordinator).dispatch),
	method("Poll", (*Coordinator).poll),
	method("Heartbeat", (*Coordinator).heartbeat),
	method("Report", (*Coordinator).report),
}}

func registryFile(dir string) string { return filepath.Join(dir, "coordinator.address") }

// insistOnDialing tries until there is a connection to be had, or ctx ends.
func insistOnDialing(ctx context.Context, c Config) (*peer, error) {
	for {
		p, err := dial(c)
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		fmt.Fprintln(os.Stderr, "connect:", err)
		pause(ctx, 500*time.Millisecond)
	}
}

// peer is a client's connection, which reconnects.
type peer struct{ conn *grpc.ClientConn }

func dial(c Config) (*peer, error) {
	address := ""
	if len(c.Coordinators) > 0 {
		address = c.Coordinators[0]
	} else if text, err := os.ReadFile(registryFile(c.Registry)); err == nil {
		address = string(text)
	}
	if address == "" {
		return nil, errors.New("no coordinator is known")
	}
	creds, err := c.client()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.CallContentSubtype(codec{}.Name())),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: 5 * time.Second,
		}))
	return &peer{conn}, err
}

func (p *peer) call(ctx context.Context, name string, in message) (out message, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = p.conn.Invoke(ctx, "/"+service+"/"+name, in, &out)
	return out, err
}

// insist calls until there is an answer, or ctx ends.
func (p *peer) insist(ctx context.Context, name string, in message) (message, error) {
	for {
		out, err := p.call(ctx, name, in)
		if err == nil || ctx.Err() != nil {
			return out, err
		}
		pause(ctx, 500*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
