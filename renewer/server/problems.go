package server

import (
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// opened is a problem of a certificate that is open now.
type opened struct {
	id                problems.ID
	certificate, host string
}

// problems writes what is open now, by the catalogue; what is not open has no series.
func (e *exposition) problems(m *measured, system renewer.SystemStatus, now time.Time) {
	e.gauge("renewer_certificate_problem", "1 for each open problem of a certificate; host is empty if the problem names no host.")
	n := system.Count(now)
	for _, p := range m.opened {
		n[p.id]++
		labels := []label{{"certificate", p.certificate}, {"host", p.host}, {"id", string(p.id)}, {"severity", string(problems.Of(p.id).Severity)}}
		e.bool(labelsOf(labels...), true)
	}
	e.gauge("renewer_problems", "Number of open problems by id; problems that are not open have no series.")
	for _, row := range problems.All() {
		if n[row.ID] > 0 {
			e.number(labelsOf(label{"id", string(row.ID)}, label{"severity", string(row.Severity)}), float64(n[row.ID]))
		}
	}
}
