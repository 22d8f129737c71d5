package probes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"renewer/renewer"
)

// getWorkers is the call of a Dagu coordinator that lists its workers
// (proto/coordinator/v1/coordinator.proto; as 2.15 has it).
const getWorkers = "/coordinator.v1.CoordinatorService/GetWorkers"

// workersLimit bounds the list: some 200 bytes a worker, and as many a task.
const workersLimit = 4 << 20

// Workers asks a Dagu coordinator, as one of its peers would, which workers it has
// seen; renewer.ErrNotDagu from a server that is no coordinator.
func (p *Prober) Workers(ctx context.Context, r renewer.ProbeRequest) ([]renewer.Worker, error) {
	address := r.Placement.Probe.Address
	v, err := p.connect(ctx, r, r.Client, nil, "h2")
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.conn.Close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	answer, err := call(ctx, v, address, getWorkers, workersLimit)
	switch {
	case err != nil:
		return nil, v.broken(ctx, address, err)
	case answer.code == grpcUnimplemented:
		return nil, renewer.ErrNotDagu
	case answer.code != grpcOK:
		return nil, fmt.Errorf("%s does not list its workers: status %s: %s", address, answer.code, answer.message)
	}
	list, err := readWorkers(answer.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return list, nil
}

var errNoWorkers = errors.New("its answer is not a list of workers")

// readWorkers reads a GetWorkersResponse in its frame: field 1, a WorkerInfo each.
func readWorkers(body []byte) ([]renewer.Worker, error) {
	message, ok := unframed(body)
	if !ok {
		return nil, errNoWorkers
	}
	list := []renewer.Worker{}
	err := fields(message, func(number uint64, _ uint64, part []byte) error {
		if number != 1 {
			return nil
		}
		w, err := readWorker(part)
		list = append(list, w)
		return err
	})
	return list, err
}

// readWorker reads a WorkerInfo: 1 worker_id, 6 busy_pollers, 7 running_tasks,
// 8 last_heartbeat_at, 9 health_status.
func readWorker(message []byte) (w renewer.Worker, err error) {
	const healthy, warning = 1, 2 // WorkerHealthStatus: seen within 15 s
	tasks, busy := 0, uint64(0)
	err = fields(message, func(number, value uint64, part []byte) error {
		switch number {
		case 1:
			if !utf8.Valid(part) {
				return errNoWorkers
			}
			w.ID = string(part)
		case 6:
			busy = min(value, math.MaxInt32) // an int32
		case 7:
			tasks++
		case 8:
			w.Heard = value
		case 9:
			w.Live = value == healthy || value == warning
		}
		return nil
	})
	w.Tasks = max(tasks, int(busy))
	return w, err
}

// fields calls see with each field of a protobuf message: its number, and its value
// or its bytes.
func fields(message []byte, see func(number, value uint64, part []byte) error) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return errNoWorkers
		}
		message = message[n:]
		var value uint64
		var part []byte
		switch tag & 7 {
		case 0: // varint
			if value, n = binary.Uvarint(message); n <= 0 {
				return errNoWorkers
			}
		case 1: // 64 bits
			n = 8
		case 2: // length-delimited
			size, m := binary.Uvarint(message)
			if m <= 0 || size > uint64(len(message)-m) {
				return errNoWorkers
			}
			n = m + int(size)
			part = message[m:n]
		case 5: // 32 bits
			n = 4
		default:
			return errNoWorkers
		}
		if n > len(message) {
			return errNoWorkers
		}
		message = message[n:]
		if err := see(tag>>3, value, part); err != nil {
			return err
		}
	}
	return nil
}
