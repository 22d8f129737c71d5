package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"renewer/renewer"
)

// stateGauges writes the gauges of the state in the text exposition format
// 0.0.4, as rows come. A Collector would make an object of each of the 70,000
// series of 10,000 certificates first, and the scrape many times dearer. Names
// are unique in a fleet file, so no two series are the same.
type stateGauges struct {
	state State
	now   func() time.Time
	room  *atomic.Int64 // what the longest of them took last time: growing costs more than writing
}

// gauge is one metric while its series are collected as text.
type gauge struct {
	name   string
	labels []string
	text   []byte
}

var labelValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (g *gauge) head(values []string) {
	g.text = append(g.text, g.name...)
	for i, v := range values {
		g.text = append(g.text, "{,"[min(i, 1)])
		g.text = append(g.text, g.labels[i]...)
		g.text = append(g.text, `="`...)
		if strings.ContainsAny(v, "\\\n\"") { // names hardly ever do, and the Replacer is slow
			v = labelValue.Replace(v)
		}
		g.text = append(g.text, v...)
		g.text = append(g.text, '"')
	}
	g.text = append(g.text, "} "...)
}

func (g *gauge) time(t time.Time, values ...string) {
	if !t.IsZero() {
		g.head(values)
		g.text = append(strconv.AppendInt(g.text, t.Unix(), 10), '\n')
	}
}

func (g *gauge) number(f float64, values ...string) {
	g.head(values)
	g.text = append(strconv.AppendFloat(g.text, f, 'g', -1, 64), '\n')
}

func (g *gauge) bool(b bool, values ...string) {
	g.head(values)
	digit := byte('0')
	if b {
		digit = '1'
	}
	g.text = append(g.text, digit, '\n')
}

// read returns every gauge as it is now.
func (s stateGauges) read() ([]*gauge, error) {
	var all []*gauge
	declare := func(name, help string, labels ...string) *gauge {
		g := &gauge{name: name, labels: labels}
		if labels[0] == "certificate" {
			g.text = make([]byte, 0, s.room.Load())
		}
		g.text = fmt.Appendf(g.text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		all = append(all, g)
		return g
	}
	notAfter := declare("renewer_certificate_not_after_timestamp_seconds", "End of the current generation.", "certificate", "issuer")
	notBefore := declare("renewer_certificate_not_before_timestamp_seconds", "Start of the current generation.", "certificate", "issuer")
	renewAt := declare("renewer_certificate_renew_at_timestamp_seconds", "When the certificate is due.", "certificate", "issuer")
	status := declare("renewer_certificate_status", "1 for the status that holds; the others have no series.", "certificate", "issuer", "status")
	placed := declare("renewer_placement_state", "1 for the state that holds; the others have no series.", "certificate", "host", "state")
	servedEnd := declare("renewer_served_not_after_timestamp_seconds", "End of the certificate that the last probe saw.", "certificate", "host")
	matches := declare("renewer_served_matches", "1 if the last probe saw what it should.", "certificate", "host")
	verified := declare("renewer_last_verified_timestamp_seconds", "When a probe last saw what it should.", "certificate", "host")
	caEnd := declare("renewer_ca_not_after_timestamp_seconds", "End of a CA certificate of an issuer.", "issuer", "subject")
	issuerUp := declare("renewer_issuer_up", "1 if the issuer answered last.", "issuer")
	clock := declare("renewer_issuer_clock_offset_seconds", "How far the clock of the issuer is ahead of this one's, as its last answer said.", "issuer")
	hostUp := declare("renewer_host_up", "1 if the host could be reached last.", "host")

	now := s.now()
	err := s.state.Rows(time.Time{}, func(row renewer.Row) bool {
		row = row.At(now)
		notAfter.time(row.NotAfter, row.Name, row.Issuer)
		notBefore.time(row.NotBefore, row.Name, row.Issuer)
		renewAt.time(row.RenewAt, row.Name, row.Issuer)
		status.bool(true, row.Name, row.Issuer, string(row.Status))
		for _, h := range row.Hosts {
			placed.bool(true, row.Name, h.Name, string(h.State))
			servedEnd.time(h.ServedEnd, row.Name, h.Name)
			verified.time(h.VerifiedAt, row.Name, h.Name)
			if h.State != renewer.HostPending || h.Served != "" { // else nothing was probed yet
				matches.bool(h.Matches, row.Name, h.Name)
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	for _, i := range s.state.Issuers() {
		issuerUp.bool(i.Up, i.Name)
		if i.ClockOffset != nil {
			clock.number(*i.ClockOffset, i.Name)
		}
		ends := map[string]time.Time{} // by subject: a CA and its successor may share one
		for _, ca := range i.CAs {
			if end, ok := ends[ca.Subject]; !ok || ca.NotAfter.Before(end) {
				ends[ca.Subject] = ca.NotAfter
			}
		}
		for _, subject := range slices.Sorted(maps.Keys(ends)) {
			caEnd.time(ends[subject], i.Name, subject)
		}
	}
	for _, h := range s.state.Hosts() {
		hostUp.bool(h.Up, h.Name)
	}
	s.channels(declare)
	room := 0
	for _, g := range all {
		room = max(room, len(g.text))
	}
	s.room.Store(int64(room + room/16)) // for a fleet that grows
	return all, nil
}
