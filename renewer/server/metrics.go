package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"renewer/renewer"
)

// Metrics are what Prometheus scrapes. Counters are kept here; gauges come
// from the state at each scrape, so that a restart loses none of them.
type Metrics struct {
	registry      *prometheus.Registry
	renewals      *prometheus.CounterVec
	issuing       *prometheus.HistogramVec
	rollouts      *prometheus.CounterVec
	rolling       prometheus.Histogram
	rollbacks     prometheus.Counter
	drifts        prometheus.Counter
	away          prometheus.Histogram
	overBudget    prometheus.Counter
	notifications *prometheus.CounterVec
	lastCheck     prometheus.Gauge
	checkWithin   prometheus.Gauge
	fleetLoaded   prometheus.Gauge
	build         *prometheus.GaugeVec
	fleet         string // the label of build
	state         stateGauges
}

// The results in labels; those of a rollout are of type renewer.Result.
const (
	resultSuccess = "success"
	resultFailure = "failure"
)

var textFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// rolloutResults are the results of a rollout or of an attempt at one.
var rolloutResults = []renewer.Result{renewer.ResultVerified, renewer.ResultFailed, renewer.ResultBlocked}

// NewMetrics returns the metrics of a process of this version over a state.
func NewMetrics(version string, state State) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "renewer_renewals_total", Help: "Finished orders at an issuer, by result.",
		}, []string{"issuer", "result"}),
		issuing: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "renewer_issue_duration_seconds", Help: "Time that an order took, failed orders included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9), // 1 ms … 65 s
		}, []string{"issuer"}),
		rollouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "renewer_rollouts_total", Help: "Finished rollouts, by result.",
		}, []string{"result"}),
		rolling: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "renewer_rollout_duration_seconds", Help: "Time from the start of a rollout to its end.",
			Buckets: prometheus.ExponentialBuckets(0.1, 4, 10), // 0.1 s … 7 h
		}),
		rollbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "renewer_rollbacks_total", Help: "Rollbacks of placements to the previous generation.",
		}),
		drifts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "renewer_drifts_total", Help: "Probes that found a certificate or files other than those that renewer placed.",
		}),
		away: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "renewer_activation_seconds", Help: "Time from the activation of a service until its probe succeeded, a restore included.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 12), // 0.1 s … 205 s
		}),
		overBudget: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "renewer_budget_exceeded_total", Help: "Activations that took longer than the restart budget.",
		}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "renewer_notifications_total", Help: "Attempts to deliver a message to a channel, by result.",
		}, []string{"channel", "result"}),
		lastCheck: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "renewer_last_check_timestamp_seconds", Help: "Time when the last check for due renewals finished.",
		}),
		checkWithin: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "renewer_check_within_seconds", Help: "Maximum age of the last check by the schedule in the fleet file.",
		}),
		fleetLoaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "renewer_fleet_file_loaded", Help: "1 if the last reload of the fleet file succeeded, 0 if the daemon keeps the previous one.",
		}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "renewer_build_info", Help: "Always 1, labeled with the version of renewer and the name of the fleet.",
			ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
		}, []string{"fleet"}),
		state: stateGauges{state: state, now: time.Now, room: new(atomic.Pointer[room])},
	}
	m.fleetLoaded.Set(1) // there is no daemon without one
	m.registry.MustRegister(m.renewals, m.issuing, m.rollouts, m.rolling, m.rollbacks, m.drifts, m.away, m.overBudget, m.notifications, m.lastCheck, m.checkWithin, m.fleetLoaded, m.build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Fleet("")
	for _, r := range rolloutResults {
		m.rollouts.WithLabelValues(string(r))
	}
	return m
}

// Fleet names the fleet; a scrape always finds one name or two, never none.
func (m *Metrics) Fleet(name string) {
	m.build.WithLabelValues(name).Set(1)
	if m.fleet != name {
		m.build.DeleteLabelValues(m.fleet)
	}
	m.fleet = name
}

// Expect makes the counters of the named issuers and channels exist from the
// start, at zero: a rate over a counter that appears with its first failure
// misses that failure.
func (m *Metrics) Expect(issuers, channels []string) {
	for _, i := range issuers {
		m.issuing.WithLabelValues(i)
		m.renewals.WithLabelValues(i, resultSuccess)
		m.renewals.WithLabelValues(i, resultFailure)
	}
	for _, c := range channels {
		m.notifications.WithLabelValues(c, resultSuccess)
		m.notifications.WithLabelValues(c, resultFailure)
	}
}

// Issued counts an order.
func (m *Metrics) Issued(issuer string, err error, took time.Duration) {
	result := resultSuccess
	if err != nil {
		result = resultFailure
	}
	m.renewals.WithLabelValues(issuer, result).Inc()
	m.issuing.WithLabelValues(issuer).Observe(took.Seconds())
}

// RolloutEnded counts a finished rollout.
func (m *Metrics) RolloutEnded(result renewer.Result, took time.Duration) {
	m.rollouts.WithLabelValues(string(result)).Inc()
	m.rolling.Observe(took.Seconds())
}

// RolledBack counts a rollback of a placement to the previous generation.
func (m *Metrics) RolledBack() { m.rollbacks.Inc() }

// Drifted counts a probe that found something other than renewer placed.
func (m *Metrics) Drifted() { m.drifts.Inc() }

// Away records how long an activation took until its probe succeeded, and whether
// it exceeded the restart budget (0: none).
func (m *Metrics) Away(took, budget time.Duration) {
	m.away.Observe(took.Seconds())
	if budget > 0 && took > budget {
		m.overBudget.Inc()
	}
}

// Checked records when a check finished.
func (m *Metrics) Checked(at time.Time) { m.lastCheck.Set(float64(at.UnixMilli()) / 1000) }

// CheckWithin sets the maximum age of the last check.
func (m *Metrics) CheckWithin(d time.Duration) { m.checkWithin.Set(d.Seconds()) }

// FleetLoaded records whether the last reload of the fleet file succeeded.
func (m *Metrics) FleetLoaded(ok bool) {
	loaded := 0.0
	if ok {
		loaded = 1
	}
	m.fleetLoaded.Set(loaded)
}

// Notified counts a message to a channel.
func (m *Metrics) Notified(channel string, err error) {
	result := resultSuccess
	if err != nil {
		result = resultFailure
	}
	m.notifications.WithLabelValues(channel, result).Inc()
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	err := m.counted(&text)
	var certificates *measured
	if err == nil {
		certificates, err = m.state.read()
	}
	if err != nil { // nothing is sent yet
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(textFormat))
	if _, err := text.WriteTo(w); err == nil {
		_ = m.state.write(w, certificates) // the client has gone if it fails
	}
}

// counted writes what this process counted.
func (m *Metrics) counted(w io.Writer) error {
	families, err := m.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather the counters: %w", err)
	}
	enc := expfmt.NewEncoder(w, textFormat)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("encode %s: %w", f.GetName(), err)
		}
	}
	return nil
}
