package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/notify"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// DeliverCommand is the hidden command under `renewer notify` that hands its
// input to Deliver.
const DeliverCommand = "deliver"

// Deliver sends one message through a service of shoutrrr, in a process of its
// own: see package notify.
func Deliver(in io.Reader, out io.Writer) error { return notify.Deliver(in, out) }

const maxTemplate = 64 << 10

// channels makes the channels of a fleet file. What is wrong with the template
// of one keeps no other from working.
func (a *App) channels(fleet *configs.Fleet) []notify.Channel {
	out := make([]notify.Channel, 0, len(fleet.Channels))
	for _, c := range fleet.Channels {
		ch := notify.Channel{Name: c.Name, Events: c.Events, Template: notify.DefaultTemplate}
		switch {
		case c.URLFile != "":
			ch.Type, ch.Sender = "shoutrrr", notify.Shoutrrr{
				URLFile: c.URLFile, Program: self(), Argv: []string{os.Args[0], "notify", DeliverCommand},
			}
		case c.WebhookURLFile != "":
			ch.Type, ch.Sender = "webhook", notify.Webhook{URLFile: c.WebhookURLFile, HMACFile: c.WebhookHMACFile, Version: a.opts.Version}
		case c.SMTP.Address != "":
			ch.Type, ch.Sender = "smtp", notify.SMTP{
				Address: c.SMTP.Address, From: c.SMTP.From, To: c.SMTP.To, Username: c.SMTP.Username, PasswordFile: c.SMTP.PasswordFile,
				Security: notify.SMTPSecurity(c.SMTP.TLS), CAFile: c.SMTP.CACert,
			}
		default:
			ch.Type, ch.Sender = "exec", notify.Exec{Argv: c.Exec}
		}
		if c.Template != "" {
			t, err := readTemplate(c.Template)
			if err != nil {
				a.opts.log().Error("the template cannot be used; the default is used", "channel", c.Name, "error", err)
			} else {
				ch.Template = t
			}
		}
		out = append(out, ch)
	}
	return out
}

// facts is what messages say beside the log, as of now.
func (a *App) facts() notify.Facts {
	fleet := a.parts.Load().fleet
	certificates, issuers, now := map[string]renewer.Row{}, map[string]renewer.Row{}, time.Now()
	err := a.inv.Rows(time.Time{}, func(r renewer.Row) bool {
		certificates[r.Name] = r.At(now)
		if _, known := issuers[r.Issuer]; !known && !r.NotAfter.IsZero() { // the soonest comes first
			issuers[r.Issuer] = r
		}
		return true
	})
	if err != nil {
		a.opts.log().Error("could not read when certificates expire, for a message", "error", err)
	}
	return notify.Facts{Fleet: fleetName(fleet), Page: PageOf(fleet), Row: func(certificate, issuer string) (r renewer.Row, ok bool) {
		if r, ok = certificates[certificate]; issuer != "" {
			r, ok = issuers[issuer]
		}
		return r, ok
	}}
}

// CheckChannels looks whether the channels of a fleet file could send, and with reach
// connects to where their messages go. A file or a program that is not here is a warning
// only unless reach is set: the fleet file may be checked on another machine.
func CheckChannels(ctx context.Context, fleet *configs.Fleet, reach bool) []renewer.Finding {
	a := &App{} // of which channels takes the options alone
	found := make([][]renewer.Finding, len(fleet.Channels))
	var g errgroup.Group
	g.SetLimit(8)
	for i, ch := range a.channels(fleet) {
		g.Go(func() error {
			err := ch.Check(ctx, reach)
			if c := fleet.Channels[i]; err == nil && c.Template != "" {
				if _, err = readTemplate(c.Template); err != nil {
					err = fmt.Errorf("channel %s: %w", ch.Name, err)
				}
			}
			if err != nil {
				level := renewer.FindingFail
				unreadable := errors.Is(err, fs.ErrPermission) && ch.Type != "exec"
				if elsewhere := errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || unreadable; elsewhere && !reach {
					level = renewer.FindingWarn
				}
				found[i] = []renewer.Finding{{Check: "channel", Level: level, Text: err.Error(), Fix: renewer.Hint(err)}}
			}
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return slices.Concat(found...)
}

func readTemplate(file string) (notify.Template, error) {
	text, err := atomicfile.ReadLimited(file, maxTemplate)
	if err != nil {
		return notify.Template{}, err
	}
	t, err := notify.ParseTemplate(string(text))
	if err != nil {
		return t, fmt.Errorf("template %s: %w", file, err)
	}
	return t, nil
}

// self is this program, even where its file was replaced meanwhile.
func self() string {
	const proc = "/proc/self/exe"
	if _, err := os.Stat(proc); err == nil {
		return proc
	}
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// NotifyTest implements server.Service.
func (a *App) NotifyTest(ctx context.Context, channel string) error {
	if fleet := a.parts.Load().fleet; !slices.Contains(channelNames(fleet), channel) {
		return none(fleet, "channel", channel, channelNames(fleet))
	}
	if err := a.requested(ctx, renewer.Event{Message: "test message through channel " + channel}); err != nil {
		return err
	}
	return a.notifier.Test(ctx, channel)
}

// issuerNews is how often what is known of issuers is compared with what the
// log has of them.
const issuerNews = 10 * time.Second

// watchIssuers records when an issuer goes down or comes up again, and has what waits
// for one that works again tried at once, however short it was down.
func (a *App) watchIssuers(ctx context.Context) error {
	down, err := a.knownDown()
	if err != nil {
		a.opts.log().Error("could not read the log", "error", err)
	}
	a.health.wereDown(down)
	tick := time.NewTicker(cmp.Or(a.opts.issuerNews, issuerNews))
	defer tick.Stop()
	for {
		issuers, _ := a.health.all()
		for _, ev := range issuerEvents(down, issuers, time.Now()) {
			if _, err := a.store.Commit(ctx, engine.Change{Events: []renewer.Event{ev}}); err != nil {
				if ctx.Err() == nil {
					a.opts.log().Error("could not record the state of an issuer", "issuer", ev.Issuer, "error", err)
				}
				continue
			}
			down[ev.Issuer] = ev.Type == renewer.EventIssuerDown
			a.opts.log().Warn(string(ev.Type), "issuer", ev.Issuer, "error", ev.Error, "hint", ev.Hint)
		}
		for _, issuer := range a.health.recovered() {
			if err := a.eng.IssuerUp(ctx, issuer); err != nil && ctx.Err() == nil {
				a.opts.log().Error("could not ask an issuer again that is up", "issuer", issuer, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// issuerEvents compares what the log has with what is known now.
func issuerEvents(down map[string]bool, issuers []renewer.IssuerStatus, now time.Time) (out []renewer.Event) {
	for _, is := range issuers {
		switch {
		case !is.Up && !down[is.Name]:
			out = append(out, renewer.Event{Time: now, Type: renewer.EventIssuerDown, Issuer: is.Name, Message: "issuer " + is.Name, Error: is.Error, Hint: is.Hint})
		case is.Up && down[is.Name]:
			out = append(out, renewer.Event{Time: now, Type: renewer.EventIssuerUp, Issuer: is.Name, Message: "issuer " + is.Name + " answers again"})
		}
	}
	return out
}

// lookBack is how many events are read to find out which issuers were down.
const lookBack = 50_000

// knownDown reads from the log which issuers were down when the last daemon
// ended.
func (a *App) knownDown() (map[string]bool, error) {
	down := map[string]bool{}
	last, err := a.inv.LastSeq()
	if err != nil {
		return down, err
	}
	for after := last - min(last, lookBack); after < last; {
		events, err := a.inv.EventsAfter(after, 1000)
		if err != nil || len(events) == 0 {
			return down, err
		}
		for _, e := range events {
			after = e.Seq
			if e.Type == renewer.EventIssuerDown || e.Type == renewer.EventIssuerUp {
				down[e.Issuer] = e.Type == renewer.EventIssuerDown
			}
		}
	}
	return down, nil
}
