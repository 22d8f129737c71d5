package daemon

import (
	"context"
	"slices"
	"testing"
	"time"

	"renewer/renewer/forecast"
)

// What left the fleet file expires in the forecast, before the first pass after that and
// after it.
func TestForecastHasWhatLeftTheFleetFile(t *testing.T) {
	web, api := "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/web, lifetime: 10d}\n", "  - {name: api, profile: files, issuer: ca, hosts: [here], dir: DIR/api, lifetime: 90d}\n"
	h := newHouse(t, web+api)
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	h.write(api)
	a = h.again(a)
	for _, when := range []string{"before a pass", "after a pass"} {
		f, err := a.Forecast(t.Context(), forecast.Request{For: 30 * 24 * time.Hour})
		must(t, err)
		n := 0
		for _, e := range f.Events {
			if e.Kind == forecast.Expires && e.Certificate == "web" && e.Host == "here" && e.Issuer == "ca" {
				n++
			}
		}
		if n != 1 || slices.ContainsFunc(f.Events, func(e forecast.Event) bool { return e.Certificate == "web" && e.Kind != forecast.Expires }) {
			t.Errorf("%s: web expires %d times in %+v", when, n, f.Events)
		}
		_, err = a.RunOnce(context.Background(), nil)
		must(t, err)
	}
}

// Right after a start the loop may be at work: the page tries again within seconds rather
// than a minute.
func TestFirstForecastOfThePageIsTriedAgainSoon(t *testing.T) {
	a := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/web, lifetime: 10d}\n").open()
	p := newPages(a)
	a.playing <- struct{}{} // another forecast is being played
	busy, err := p.Forecast(t.Context())
	must(t, err)
	<-a.playing
	p.ahead.tried = p.ahead.tried.Add(-playFirst)
	soon, err := p.Forecast(t.Context())
	must(t, err)
	if !busy.From.IsZero() || soon.From.IsZero() {
		t.Errorf("the page shows a forecast from %s, and then from %s", busy.From, soon.From)
	}
}
