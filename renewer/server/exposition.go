package server

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// expositionBuffer is how much text goes to the client at a time.
const expositionBuffer = 64 << 10

// exposition writes gauges in the text exposition format 0.0.4, one after
// another: first gauge, then a line for each of its series. After the first
// error of w it writes no more.
type exposition struct {
	w    io.Writer
	text []byte // not written yet
	name string // of the gauge
	err  error
}

func (e *exposition) gauge(name, help string) {
	e.name = name
	e.text = fmt.Appendf(e.text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

func (e *exposition) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.text)
	}
	e.text = e.text[:0]
}

// begin writes a line up to the end of the labels that are given.
func (e *exposition) begin(labels []byte) {
	if len(e.text) > expositionBuffer*7/8 {
		e.flush()
	}
	e.text = append(append(append(e.text, e.name...), '{'), labels...)
}

// time writes no series for the zero time.
func (e *exposition) time(labels []byte, t time.Time) {
	if !t.IsZero() {
		e.begin(labels)
		e.text = append(strconv.AppendInt(append(e.text, "} "...), t.Unix(), 10), '\n')
	}
}

func (e *exposition) number(labels []byte, f float64) {
	e.begin(labels)
	e.text = append(strconv.AppendFloat(append(e.text, "} "...), f, 'g', -1, 64), '\n')
}

func (e *exposition) bool(labels []byte, b bool) {
	e.begin(labels)
	if b {
		e.text = append(e.text, "} 1\n"...)
	} else {
		e.text = append(e.text, "} 0\n"...)
	}
}

// holds writes 1 for the one value of a further label that holds.
func (e *exposition) holds(labels []byte, name, value string) {
	e.begin(labels)
	e.text = append(label{name, value}.append(append(e.text, ',')), "} 1\n"...)
}

type label struct{ name, value string }

// labelsOf returns the text of labels.
func labelsOf(labels ...label) []byte { return appendLabels(make([]byte, 0, 128), labels...) }

func appendLabels(text []byte, labels ...label) []byte {
	for i, l := range labels {
		if i > 0 {
			text = append(text, ',')
		}
		text = l.append(text)
	}
	return text
}

var labelValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (l label) append(text []byte) []byte {
	text = append(append(text, l.name...), `="`...)
	for i := range len(l.value) {
		if c := l.value[i]; c == '\\' || c == '\n' || c == '"' { // names hardly ever have one, and the Replacer is slow
			return append(append(text, labelValue.Replace(l.value)...), '"')
		}
	}
	return append(append(text, l.value...), '"')
}
