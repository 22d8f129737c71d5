package daemon

import (
	"sync/atomic"
	"time"

	"renewer/renewer"
)

// lateState is what metrics look at. They are made before the state is open,
// because the engine counts into them.
type lateState struct{ app atomic.Pointer[App] }

func (s *lateState) Rows(until time.Time, yield func(renewer.Row) bool) error {
	a := s.app.Load()
	if a == nil {
		return nil
	}
	return withOrphans(a.store, a.stays, a.rows)(until, yield)
}

func (s *lateState) RolloutTime(certificate string) time.Duration {
	a := s.app.Load()
	if a == nil {
		return 0
	}
	fleet := a.parts.Load().fleet
	c, _ := fleet.Certificate(certificate)
	return fleet.RolloutTime(c)
}

func (s *lateState) Issuers() []renewer.IssuerStatus {
	a := s.app.Load()
	if a == nil {
		return nil
	}
	return a.issuerStatuses()
}

func (s *lateState) Hosts() []renewer.HostStatus {
	a := s.app.Load()
	if a == nil {
		return nil
	}
	_, hosts := a.health.all()
	return hosts
}

func (s *lateState) Channels() []renewer.ChannelStatus {
	a := s.app.Load()
	if a == nil {
		return nil
	}
	return a.notifier.Live()
}

func (s *lateState) Daemon() renewer.DaemonStatus {
	a := s.app.Load()
	if a == nil {
		return renewer.DaemonStatus{}
	}
	return a.daemonStatus()
}
