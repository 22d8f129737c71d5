package dagupeer

import (
	"context"
	"maps"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// workerInfo is what the coordinator last got from a worker.
type workerInfo struct {
	Pollers int       `json:"pollers"`
	Tasks   []string  `json:"tasks"`
	Heard   time.Time `json:"heard"`
}

func (co *Coordinator) workersFile() string {
	return filepath.Join(filepath.Dir(co.file), "workers.json")
}

func (co *Coordinator) workersNow() map[string]workerInfo {
	co.mu.Lock()
	defer co.mu.Unlock()
	return maps.Clone(co.workers)
}

// inDagusWords is the part of Dagu's own service that lists workers.
var inDagusWords = grpc.ServiceDesc{ServiceName: "coordinator.v1.CoordinatorService", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
	MethodName: "GetWorkers",
	Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(&emptypb.Empty{}); err != nil {
			return nil, err
		}
		answer := &emptypb.Empty{} // with fields that it does not know
		answer.ProtoReflect().SetUnknown(listOf(srv.(*Coordinator).workersNow(), time.Now()))
		return answer, nil
	},
}}}

// listOf is a GetWorkersResponse.
func listOf(workers map[string]workerInfo, now time.Time) (list []byte) {
	number := func(b []byte, field protowire.Number, v int) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
	}
	text := func(b []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
	}
	for id, w := range workers {
		health := 3 // unhealthy
		switch ago := now.Sub(w.Heard); {
		case ago < 5*time.Second:
			health = 1
		case ago < 15*time.Second:
			health = 2
		}
		info := number(number(text(nil, 1, id), 5, w.Pollers), 6, len(w.Tasks))
		for _, run := range w.Tasks {
			info = protowire.AppendBytes(protowire.AppendTag(info, 7, protowire.BytesType), text(nil, 1, run))
		}
		info = number(number(info, 8, int(w.Heard.Unix())), 9, health)
		list = protowire.AppendBytes(protowire.AppendTag(list, 1, protowire.BytesType), info)
	}
	return list
}
