package configs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// scalar returns the text of a scalar with one of the tags, or a fault that
// says what was found. It never shows the value: it may be a secret in the
// wrong place.
func (l *loader) scalar(at pos, n *yaml.Node, expected string, tags ...string) (string, bool) {
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags, n.Tag) {
		l.fault(at, l.what()+" is "+kindOf(n), "expected "+expected)
		return "", false
	}
	return n.Value, true
}

// textLike reads one line of text that a check accepts.
func textLike(expected string, check func(string) bool) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind == yaml.ScalarNode && n.Tag != "!!str" && !isNull(n) {
			l.fault(at, l.what()+" is "+kindOf(n), "expected "+expected+", in quotes")
			return nil, false
		}
		s, ok := l.scalar(at, n, expected, "!!str")
		if !ok {
			return nil, false
		}
		if s == "" || strings.ContainsFunc(s, unicode.IsControl) || !check(s) {
			wanted := "expected " + expected
			if meant := meantName(s, check); meant != "" {
				wanted += "; did you mean " + quote(meant) + "?"
			}
			l.fault(at, l.what()+" is "+quote(s), wanted)
			return nil, false
		}
		return s, true
	}
}

func anything(string) bool { return true }

// text reads one line of text.
func text(expected string) reader { return textLike(expected, anything) }

// enum reads one of a few words.
func enum(words ...string) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		s, ok := l.scalar(at, n, oneOf(words), "!!str")
		if !ok {
			return nil, false
		}
		if !slices.Contains(words, s) {
			l.fault(at, l.what()+" is "+quote(s), l.suggest(s, words))
			return nil, false
		}
		return s, true
	}
}

func boolean(l *loader, at pos, n *yaml.Node) (any, bool) {
	s, ok := l.scalar(at, n, "true or false", "!!bool")
	return strings.EqualFold(s, "true"), ok
}

// integer reads a whole number within bounds.
func integer(least, most int) reader {
	expected := fmt.Sprintf("a whole number from %d to %d", least, most)
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		s, ok := l.scalar(at, n, expected, "!!int", "!!float")
		if !ok {
			return nil, false
		}
		v, err := strconv.Atoi(s)
		if err != nil || strconv.Itoa(v) != s || v < least || v > most {
			l.fault(at, l.what()+" is "+quote(s), "expected "+expected)
			return nil, false
		}
		return v, true
	}
}

// duration reads a duration within bounds; least may be 0.
func duration(least, most time.Duration) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") && n.Value != "0" {
			l.fault(at, l.what()+" is "+quote(n.Value)+", a number without a unit", "expected "+aDuration)
			return nil, false
		}
		s, ok := l.scalar(at, n, aDuration, "!!str", "!!int")
		if !ok {
			return nil, false
		}
		if least == 0 && (s == "0" || s == "0s") {
			return time.Duration(0), true
		}
		d, err := ParseDuration(s)
		if err != nil {
			what, expected, _ := strings.Cut(err.Error(), "; ")
			l.fault(at, l.what()+": "+what, expected)
			return nil, false
		}
		if d < least || d > most {
			l.fault(at, l.what()+" is "+quote(s)+", which is out of range",
				fmt.Sprintf("expected %s to %s", FormatDuration(least), FormatDuration(most)))
			return nil, false
		}
		return d, true
	}
}

// share reads a percentage within bounds, themselves in percent.
func share(least, most float64) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		s, ok := l.scalar(at, n, aShare, "!!str", "!!int", "!!float")
		if !ok {
			return nil, false
		}
		v, err := parseShare(s)
		if err != nil {
			l.fault(at, l.what()+" is "+quote(s), "expected "+aShare)
			return nil, false
		}
		if p := float64(v) * 100; p < least-1e-9 || p > most+1e-9 {
			l.fault(at, l.what()+" is "+quote(s)+", which is out of range", fmt.Sprintf("expected %g%% to %g%%", least, most))
			return nil, false
		}
		return v, true
	}
}

// object reads a mapping that has a schema; its value is settings.
func object(what string, s schema) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		v, ok := l.object(at, n, what, s)
		return v, ok
	}
}

// orEmpty reads an empty section (one whose entries are all commented out)
// as an absent one.
func orEmpty(read reader) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if isNull(n) {
			return nil, false
		}
		return read(l, at, n)
	}
}
