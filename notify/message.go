package notify

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"
	"unicode/utf8"

	"renewer/internal/plaintext"
	"renewer/renewer"
)

// Message is what a channel sends: what is new since the one before. Webhooks
// and programs get it as JSON.
type Message struct {
	// ID is the same for every try of one message, and for no other message:
	// a receiver that has seen it has this message already.
	ID       string    `json:"id"`
	Channel  string    `json:"channel"`
	Fleet    string    `json:"fleet"`    // whose certificates
	Severity string    `json:"severity"` // of the worst problem in Open; info where there is none
	Time     time.Time `json:"time"`     // when it was made
	Title    string    `json:"title"`
	Text     string    `json:"text"`
	Page     string    `json:"page,omitempty"` // the status page
	Open     []Problem `json:"open"`           // new, or worse than before
	Resolved []Problem `json:"resolved"`       // opened by an earlier message
	Notices  []Problem `json:"notices"`        // for information
	More     int       `json:"more"`           // problems that were left out of the three lists, for their number
	// Remaining is how many problems are open after this message, those in Open
	// included.
	Remaining int  `json:"remaining"`
	Test      bool `json:"test,omitempty"`
}

// plain is the message without what hosts and issuers may have put into it to
// steer a terminal or a page.
func (m Message) plain() Message {
	m.Title, m.Text = plaintext.Short(plaintext.Text(m.Title)), plaintext.Short(plaintext.Text(m.Text))
	for _, list := range []*[]Problem{&m.Open, &m.Resolved, &m.Notices} {
		*list = slices.Clone(*list)
		for i := range *list {
			t := &(*list)[i]
			for _, s := range []*string{&t.Message, &t.Error, &t.Hint, &t.Means, &t.Ended} {
				*s = plaintext.Text(*s)
			}
		}
	}
	return m
}

// Bounds of a message.
const (
	maxListed = 500  // entries in each list
	maxText   = 4000 // bytes
	maxTitle  = 200
	maxField  = 500 // of an error or a hint
)

func messageID(channel string, cursor uint64, m Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d ", channel, cursor)
	_ = json.NewEncoder(h).Encode(m) // a hash takes all, and every field can be encoded
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// cap shortens the lists.
func (m *Message) cap() {
	for _, list := range []*[]Problem{&m.Open, &m.Resolved, &m.Notices} {
		if n := len(*list) - maxListed; n > 0 {
			m.More += n
			*list = slices.Clone((*list)[:maxListed])
		}
		if *list == nil {
			*list = []Problem{} // an empty array, not null
		}
	}
}

// Section is the problems of one kind and severity, as a template shows them.
type Section struct {
	Kind     renewer.EventType
	Severity string
	What     string // in a few words, such as "3 certificates expired"
	Means    string
	Page     string // address of the page that shows them all
	Runbook  string // address of the runbook, or its name where no page is served

	Items []Problem // the first of them
	Count int
	More  int // Count without Items
	// Command helps all of them: with a placeholder such as HOST where they
	// need different ones.
	Command string
	// Commands are one line for each distinct command, or the one with the
	// placeholder where they would be too many.
	Commands []Command
}

// Command is one line of what to run.
type Command struct {
	Run  string
	For  []string // whose it is: names, or what the placeholder stands for; empty where Run says it
	More int      // of For, left out for their number
}

// view is what a template gets.
type view struct {
	Message
	Problems, Ended, News []Section
}

// Label says in capitals how urgent the message is.
func (v view) Label() string {
	switch {
	case v.Test:
		return "TEST"
	case len(v.Problems) == 0 && len(v.Ended) > 0:
		return "RESOLVED"
	}
	return strings.ToUpper(string(v.level()))
}

// detail is how much of a message its text shows. What does not fit is shown
// with less: a command that helps is worth more than the tenth error.
type detail struct{ items, field, names int }

var details = []detail{{10, maxField, 10}, {5, 200, 10}, {2, 120, 10}, {1, 80, 3}}

func sections(list []Problem, d detail) (out []Section) {
	type group struct {
		kind     renewer.EventType
		severity string
	}
	by := map[group][]Problem{}
	for _, t := range list {
		g := group{t.Kind, t.Severity}
		if by[g] == nil {
			out = append(out, Section{Kind: t.Kind, Severity: t.Severity, Means: t.Means, Runbook: cmp.Or(t.RunbookURL, t.Runbook)})
		}
		by[g] = append(by[g], t)
	}
	for i := range out {
		s := &out[i]
		all := by[group{s.Kind, s.Severity}]
		s.Items = slices.Clone(all[:min(len(all), d.items)])
		for j := range s.Items {
			t := &s.Items[j]
			t.Error, t.Hint, t.Message = cut(t.Error, d.field), cut(t.Hint, d.field), cut(t.Message, d.field)
		}
		s.Count, s.More = len(all), len(all)-len(s.Items)
		s.Commands, s.Command = commands(all, d.names)
		s.What, s.Page = what(all), all[0].Page
		if slices.ContainsFunc(all, func(t Problem) bool { return t.Page != s.Page }) {
			s.Page = ""
		}
	}
	return out
}

//go:embed default.tmpl
var defaultText string

var functions = template.FuncMap{
	"name":  name,
	"word":  word,
	"when":  when,
	"span":  func(from, to time.Time) string { return cmp.Or(renewer.Span(to.Sub(from)), "less than 1 s") },
	"upper": strings.ToUpper,
}

func word(k renewer.EventType) string { return strings.ReplaceAll(string(k), "_", " ") }

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// what says in a few words what is wrong.
func what(list []Problem) string {
	is := kinds[list[0].Kind].is
	if list[0].differs() {
		is = "still drifted"
	}
	if is == "" {
		is = word(list[0].Kind)
	}
	if len(list) == 1 {
		return name(list[0]) + " " + is
	}
	noun, of, hosts := "certificate", map[string]bool{}, map[string]bool{}
	for _, t := range list {
		if t.Issuer != "" {
			noun = "issuer"
		}
		of[t.Certificate+t.Issuer], hosts[t.Host] = true, true
	}
	delete(hosts, "")
	switch {
	case len(of) == 1 && len(hosts) < 2:
		return name(Problem{Certificate: list[0].Certificate, Issuer: list[0].Issuer}) + " " + is
	case len(of) == 1:
		return fmt.Sprintf("%s on %d hosts %s", list[0].Certificate, len(hosts), is)
	}
	return fmt.Sprintf("%d %ss %s", len(of), noun, is)
}

// name says whose problem it is.
func name(t Problem) string {
	switch {
	case t.Issuer != "":
		return "issuer " + t.Issuer
	case t.Host != "" && !strings.HasSuffix(t.Certificate, "@"+t.Host):
		return t.Certificate + " on " + t.Host
	}
	return t.Certificate
}

// Template makes the title and the text of messages. The zero one is
// DefaultTemplate.
type Template struct{ t *template.Template }

// DefaultTemplate names each certificate and host, what it means, the error
// and the command that helps.
var DefaultTemplate Template

var defaultTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("default").Funcs(functions).Parse(defaultText))
})

// ParseTemplate reads a text/template that defines "title", "text" or both;
// what it does not define is as in the default. It is tried on a message.
func ParseTemplate(text string) (Template, error) {
	t, err := template.Must(defaultTemplate().Clone()).Parse(text)
	if err != nil {
		return Template{}, fmt.Errorf("parse the template: %w", err)
	}
	m := TestMessage("any", time.Now())
	return Template{t}, Template{t}.render(&m)
}

// render fills title and text.
func (t Template) render(m *Message) error {
	var text string
	for _, d := range details {
		v := view{Message: *m, Problems: sections(m.Open, d), Ended: sections(m.Resolved, d), News: sections(m.Notices, d)}
		title, err := t.part("title", v)
		if err != nil {
			return err
		}
		if text, err = t.part("text", v); err != nil {
			return err
		}
		m.Title = oneLine(cut(title, maxTitle))
		if len(text) <= maxText {
			break
		}
	}
	m.Text = cut(text, maxText)
	return nil
}

func (t Template) part(name string, v view) (string, error) {
	if t.t == nil {
		t.t = defaultTemplate()
	}
	var out limited
	if err := t.t.ExecuteTemplate(&out, name, v); err != nil {
		return "", fmt.Errorf("fill the template: %w", err)
	}
	return strings.TrimSpace(out.String()), nil
}

// limited keeps a template from filling the memory.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > 1<<20 {
		return 0, io.ErrShortBuffer
	}
	return l.Buffer.Write(p)
}

// TestMessage is what `renewer notify test` sends.
func TestMessage(channel string, now time.Time) Message {
	m := Message{Channel: channel, Time: now.UTC().Truncate(time.Second), Test: true}
	m.ID = messageID(channel, uint64(now.UnixNano()), m)
	m.cap()
	return m
}

// short bounds what an event may bring into a message.
func short(s string) string { return cut(s, maxField) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const dots = "…"
	n -= len(dots)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + dots
}

// oneLine makes a header or a subject of a text.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}
