package server

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// stateGauges writes the gauges of the state. A Collector would make an object
// of each of the 80,000 series of 10,000 certificates first, and the scrape
// many times dearer. Names are unique in a fleet file, so no two series are the
// same.
type stateGauges struct {
	state State
	now   func() time.Time
	room  *atomic.Pointer[room] // what the last scrape took
}

type room struct{ labels, ends, all int }

// measured is what a scrape shows of a fleet. The text of all labels is made
// once for all of their series, in one piece of memory.
type measured struct {
	labels []byte
	ends   []int // of the labels; each begins where the one before ends
	all    []certificate
	opened []opened
}

// certificate is the part of a row that is measured. Its labels are those of
// that number, and its hosts' follow.
type certificate struct {
	notBefore, notAfter, renewAt time.Time
	tolerates                    float64 // seconds; less than 0: no series
	status                       renewer.Status
	hosts                        []renewer.HostRow
	number                       int
}

func (m *measured) label(labels ...label) {
	m.labels = appendLabels(m.labels, labels...)
	m.ends = append(m.ends, len(m.labels))
}

func (m *measured) labelsOf(number int) []byte { return m.labels[m.ends[number]:m.ends[number+1]] }

// read returns the certificates as they are now, so that nothing is written of
// a state that cannot be read.
func (s stateGauges) read() (*measured, error) {
	now, m := s.now(), &measured{ends: []int{0}}
	if was := s.room.Load(); was != nil {
		m = &measured{labels: make([]byte, 0, was.labels), ends: append(make([]int, 0, was.ends), 0), all: make([]certificate, 0, was.all)}
	}
	name := ""
	open := func(id problems.ID, h *renewer.HostRow) {
		o := opened{id: id, certificate: name}
		if h != nil {
			o.host = h.Name
		}
		m.opened = append(m.opened, o)
	}
	err := s.state.Rows(time.Time{}, func(row renewer.Row) bool {
		row, name = row.At(now), row.Name
		row.Problems(now, open)
		tolerates := -1.0
		if d, ok := row.Tolerance(s.state.RolloutTime(row.Name), now); ok {
			tolerates = d.Truncate(time.Second).Seconds()
		}
		m.all = append(m.all, certificate{row.NotBefore, row.NotAfter, row.RenewAt, tolerates, row.Status, row.Hosts, len(m.ends) - 1})
		m.label(label{"certificate", row.Name}, label{"issuer", row.Issuer})
		for i := range row.Hosts {
			m.label(label{"certificate", row.Name}, label{"host", row.Hosts[i].Name})
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	s.room.Store(&room{len(m.labels) * 17 / 16, len(m.ends) * 17 / 16, len(m.all) * 17 / 16})
	return m, nil
}

// each calls write for each certificate with its labels.
func (m *measured) each(write func(labels []byte, c *certificate)) {
	for i := range m.all {
		write(m.labelsOf(m.all[i].number), &m.all[i])
	}
}

// eachHost calls write for each placement with its labels.
func (m *measured) eachHost(write func(labels []byte, h *renewer.HostRow)) {
	m.each(func(_ []byte, c *certificate) {
		for n := range c.hosts {
			write(m.labelsOf(c.number+1+n), &c.hosts[n])
		}
	})
}

// write fails where w does.
func (s stateGauges) write(w io.Writer, m *measured) error {
	e := &exposition{w: w, text: make([]byte, 0, expositionBuffer)}
	e.certificates(m)
	e.placements(m)
	system := renewer.SystemStatus{Daemon: s.state.Daemon(), Issuers: s.state.Issuers(), Hosts: s.state.Hosts(), Channels: s.state.Channels()}
	e.issuers(system.Issuers)
	e.gauge("renewer_host_up", "1 if the last connection to the host succeeded.")
	for _, h := range system.Hosts {
		e.bool(labelsOf(label{"host", h.Name}), h.Up)
	}
	e.channels(system.Channels)
	e.problems(m, system, s.now())
	e.flush()
	return e.err
}

func (e *exposition) certificates(m *measured) {
	e.gauge("renewer_certificate_not_after_timestamp_seconds", "Expiry of the certificate in place.")
	m.each(func(labels []byte, c *certificate) { e.time(labels, c.notAfter) })
	e.gauge("renewer_certificate_not_before_timestamp_seconds", "Start of validity of the current generation.")
	m.each(func(labels []byte, c *certificate) { e.time(labels, c.notBefore) })
	e.gauge("renewer_certificate_renew_at_timestamp_seconds", "Renew time of the certificate.")
	m.each(func(labels []byte, c *certificate) { e.time(labels, c.renewAt) })
	e.gauge("renewer_outage_tolerance_seconds", "How long an outage of issuer or hosts may last from now before the certificate expires.")
	m.each(func(labels []byte, c *certificate) {
		if c.tolerates >= 0 {
			e.number(labels[:bytes.Index(labels, issuerLabel)], c.tolerates)
		}
	})
	e.gauge("renewer_certificate_status", "1 for the current status; other statuses have no series.")
	m.each(func(labels []byte, c *certificate) { e.holds(labels, "status", string(c.status)) })
}

// issuerLabel begins the second label of a certificate. In a value it would be escaped.
var issuerLabel = []byte(`,issuer="`)

func (e *exposition) placements(m *measured) {
	e.gauge("renewer_placement_state", "1 for the current state; other states have no series.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) { e.holds(labels, "state", string(h.State)) })
	e.gauge("renewer_served_not_after_timestamp_seconds", "Expiry of the certificate that the last probe saw.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) { e.time(labels, h.ServedEnd) })
	e.gauge("renewer_served_matches", "1 if the last probe saw the expected certificate.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) {
		if probed(h) {
			e.bool(labels, h.Matches)
		}
	})
	e.gauge("renewer_drifted_timestamp_seconds", "Time when a probe last found a certificate or files that renewer did not place.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) { e.time(labels, h.DriftedAt) })
	e.gauge("renewer_budget_exceeded_timestamp_seconds", "Time of the last activation that exceeded its restart budget.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) { e.time(labels, h.OverBudgetAt) })
	e.gauge("renewer_last_verified_timestamp_seconds", "Time of the last successful probe.")
	m.eachHost(func(labels []byte, h *renewer.HostRow) { e.time(labels, h.VerifiedAt) })
}

// probed reports whether a probe ever had something to look at: what is only
// staged, and waits for its window, serves nothing wrong.
func probed(h *renewer.HostRow) bool {
	switch h.State {
	case renewer.HostPending, renewer.HostStaged, renewer.HostActivated:
		return h.Served != "" || !h.VerifiedAt.IsZero()
	case renewer.HostUnknown:
		return false
	}
	return true
}

func (e *exposition) issuers(all []renewer.IssuerStatus) {
	e.gauge("renewer_ca_not_after_timestamp_seconds", "Expiry of a CA certificate of an issuer.")
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
	e.gauge("renewer_issuer_up", "1 if the issuer answered the last request.")
	for _, i := range all {
		e.bool(labelsOf(label{"issuer", i.Name}), i.Up)
	}
	e.gauge("renewer_ca_rotation_stage", "1 for the current stage of the issuer's CA rotation; other stages have no series.")
	for _, i := range all {
		if i.Rotation != nil {
			e.holds(labelsOf(label{"issuer", i.Name}), "stage", i.Rotation.Stage)
		}
	}
	e.gauge("renewer_ca_rotation_blocked", "1 if the issuer's CA rotation needs manual action.")
	for _, i := range all {
		if i.Rotation != nil {
			e.bool(labelsOf(label{"issuer", i.Name}), i.Rotation.Blocked)
		}
	}
	e.gauge("renewer_ca_trusted_nowhere_seconds", "Time from ca rotate --compromised until no ca file contained the old root.")
	for _, i := range all {
		if i.Rotation != nil && i.Rotation.TrustedNowhere > 0 {
			e.number(labelsOf(label{"issuer", i.Name}), i.Rotation.TrustedNowhere)
		}
	}
	e.gauge("renewer_issuer_clock_offset_seconds", "Clock offset of the issuer at its last answer; positive if it is ahead of this machine.")
	for _, i := range all {
		if i.ClockOffset != nil {
			e.number(labelsOf(label{"issuer", i.Name}), *i.ClockOffset)
		}
	}
}
