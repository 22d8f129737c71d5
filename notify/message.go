package notify

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"renewer/renewer"
)

// Message is what a channel sends: what is new since the one before. Webhooks
// and programs get it as JSON.
type Message struct {
	// ID is the same for every try of one message, and for no other message:
	// who has seen it before has this message already.
	ID       string    `json:"id"`
	Channel  string    `json:"channel"`
	Time     time.Time `json:"time"` // when it was made
	Title    string    `json:"title"`
	Text     string    `json:"text"`
	Open     []Trouble `json:"open"`     // new, or worse than before
	Resolved []Trouble `json:"resolved"` // over
	Notices  []Trouble `json:"notices"`  // for information
	More     int       `json:"more"`     // troubles that were left out of the three lists, for their number
	Test     bool      `json:"test,omitempty"`
}

// Bounds of a message.
const (
	maxListed = 500  // entries in each list
	maxShown  = 10   // of a kind, in the text
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
	for _, list := range []*[]Trouble{&m.Open, &m.Resolved, &m.Notices} {
		if n := len(*list) - maxListed; n > 0 {
			m.More += n
			*list = slices.Clone((*list)[:maxListed])
		}
		if *list == nil {
			*list = []Trouble{} // an empty array, not null
		}
	}
}

// Section is the troubles of one kind, as a template shows them.
type Section struct {
	Kind    renewer.EventType
	Means   string
	Items   []Trouble // the first of them
	Count   int
	More    int // Count without Items
	Command string
}

// view is what a template gets.
type view struct {
	Message
	Troubles, Ended, News []Section
}

func sections(list []Trouble) (out []Section) {
	for _, t := range list {
		i := slices.IndexFunc(out, func(s Section) bool { return s.Kind == t.Kind })
		if i < 0 {
			i = len(out)
			out = append(out, Section{Kind: t.Kind, Means: t.Means, Command: t.Command})
		}
		s := &out[i]
		if s.Count++; len(s.Items) < maxShown {
			s.Items = append(s.Items, t)
		} else {
			s.More++
		}
	}
	return out
}

//go:embed default.tmpl
var defaultText string

var functions = template.FuncMap{
	"name": name,
	"word": func(k renewer.EventType) string { return strings.ReplaceAll(string(k), "_", " ") },
	"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
}

// name says whose trouble it is.
func name(t Trouble) string {
	switch {
	case t.Issuer != "":
		return "issuer " + t.Issuer
	case t.Host != "" && !strings.HasSuffix(t.Certificate, "@"+t.Host):
		return t.Certificate + " on " + t.Host
	}
	return t.Certificate
}

// Template makes the title and the text of messages.
type Template struct{ t *template.Template }

// DefaultTemplate names each certificate and host, what it means, the error
// and the command that helps.
var DefaultTemplate = Template{template.Must(template.New("default").Funcs(functions).Parse(defaultText))}

// ParseTemplate reads a text/template that defines "title", "text" or both;
// what it does not define is as in the default. It is tried on a message.
func ParseTemplate(text string) (Template, error) {
	t, err := template.Must(DefaultTemplate.t.Clone()).Parse(text)
	if err != nil {
		return Template{}, fmt.Errorf("parse the template: %w", err)
	}
	m := TestMessage("any", time.Now())
	return Template{t}, Template{t}.render(&m)
}

// render fills title and text.
func (t Template) render(m *Message) error {
	v := view{Message: *m, Troubles: sections(m.Open), Ended: sections(m.Resolved), News: sections(m.Notices)}
	for _, part := range []struct {
		name string
		into *string
		max  int
	}{{"title", &m.Title, maxTitle}, {"text", &m.Text, maxText}} {
		var out limited
		if err := t.t.ExecuteTemplate(&out, part.name, v); err != nil {
			return fmt.Errorf("fill the template: %w", err)
		}
		*part.into = cut(strings.TrimSpace(out.String()), part.max)
	}
	m.Title = oneLine(m.Title)
	return nil
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

func fill(command string, k key) string {
	if k.host == "" {
		k.host = "HOST"
	}
	return strings.NewReplacer("{certificate}", k.certificate, "{host}", k.host, "{issuer}", k.issuer).Replace(command)
}
