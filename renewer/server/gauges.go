package server

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"renewer/renewer"
)

// stateGauges writes the gauges of the state. A Collector would make an object
// of each of the 80,000 series of 10,000 certificates first, and the scrape
// many times dearer. Names are unique in a fleet file, so no two series are the
// same.
type stateGauges struct {
	state State
	now   func() time.Time
	room  *atomic.Int64 // how many certificates there were last time
}

// measured is a certificate with its labels and those of its hosts. The text is
// made once for all of its series.
type measured struct {
	renewer.Row
	labels string
	hosts  []string
}

// read returns the certificates as they are now, so that nothing is written of
// a state that cannot be read.
func (s stateGauges) read() ([]measured, error) {
	now, all := s.now(), make([]measured, 0, s.room.Load())
	err := s.state.Rows(time.Time{}, func(row renewer.Row) bool {
		m := measured{row.At(now), labelsOf(label{"certificate", row.Name}, label{"issuer", row.Issuer}), make([]string, len(row.Hosts))}
		for i := range row.Hosts {
			m.hosts[i] = labelsOf(label{"certificate", row.Name}, label{"host", row.Hosts[i].Name})
		}
		all = append(all, m)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	s.room.Store(int64(len(all)))
	return all, nil
}

// write fails where w does.
func (s stateGauges) write(w io.Writer, certificates []measured) error {
	e := &exposition{w: w, text: make([]byte, 0, expositionBuffer)}
	e.certificates(certificates)
	e.placements(certificates)
	e.issuers(s.state.Issuers())
	e.gauge("renewer_host_up", "1 if the host could be reached last.")
	for _, h := range s.state.Hosts() {
		e.bool(labelsOf(label{"host", h.Name}), h.Up)
	}
	e.channels(s.state.Channels())
	e.flush()
	return e.err
}

func (e *exposition) certificates(all []measured) {
	e.gauge("renewer_certificate_not_after_timestamp_seconds", "End of the current generation.")
	for i := range all {
		e.time(all[i].labels, all[i].NotAfter)
	}
	e.gauge("renewer_certificate_not_before_timestamp_seconds", "Start of the current generation.")
	for i := range all {
		e.time(all[i].labels, all[i].NotBefore)
	}
	e.gauge("renewer_certificate_renew_at_timestamp_seconds", "When the certificate is due.")
	for i := range all {
		e.time(all[i].labels, all[i].RenewAt)
	}
	e.gauge("renewer_certificate_status", "1 for the status that holds; the others have no series.")
	for i := range all {
		e.holds(all[i].labels, "status", string(all[i].Status))
	}
}

func (e *exposition) placements(all []measured) {
	each := func(write func(labels string, h *renewer.HostRow)) {
		for i := range all {
			for n, labels := range all[i].hosts {
				write(labels, &all[i].Hosts[n])
			}
		}
	}
	e.gauge("renewer_placement_state", "1 for the state that holds; the others have no series.")
	each(func(labels string, h *renewer.HostRow) { e.holds(labels, "state", string(h.State)) })
	e.gauge("renewer_served_not_after_timestamp_seconds", "End of the certificate that the last probe saw.")
	each(func(labels string, h *renewer.HostRow) { e.time(labels, h.ServedEnd) })
	e.gauge("renewer_served_matches", "1 if the last probe saw what it should.")
	each(func(labels string, h *renewer.HostRow) {
		if probed(h) {
			e.bool(labels, h.Matches)
		}
	})
	e.gauge("renewer_last_verified_timestamp_seconds", "When a probe last saw what it should.")
	each(func(labels string, h *renewer.HostRow) { e.time(labels, h.VerifiedAt) })
}

// probed reports whether a probe ever had something to look at: what is only
// staged, and waits for its window, serves nothing wrong.
func probed(h *renewer.HostRow) bool {
	switch h.State {
	case renewer.HostPending, renewer.HostStaged, renewer.HostActivated:
		return h.Served != "" || !h.VerifiedAt.IsZero()
	}
	return true
}

func (e *exposition) issuers(all []renewer.IssuerStatus) {
	e.gauge("renewer_ca_not_after_timestamp_seconds", "End of a CA certificate of an issuer.")
	for _, i := range all {
		ends := map[string]time.Time{} // by subject: a CA and its successor may share one
		for _, ca := range i.CAs {
			if end, ok := ends[ca.Subject]; !ok || ca.NotAfter.Before(end) {
				ends[ca.Subject] = ca.NotAfter
			}
		}
		for _, subject := range slices.Sorted(maps.Keys(ends)) {
			e.time(labelsOf(label{"issuer", i.Name}, label{"subject", subject}), ends[subject])
		}
	}
	e.gauge("renewer_issuer_up", "1 if the issuer answered last.")
	for _, i := range all {
		e.bool(labelsOf(label{"issuer", i.Name}), i.Up)
	}
	e.gauge("renewer_issuer_clock_offset_seconds", "How far the clock of the issuer is ahead of this one's, as its last answer said.")
	for _, i := range all {
		if i.ClockOffset != nil {
			e.number(labelsOf(label{"issuer", i.Name}), *i.ClockOffset)
		}
	}
}
