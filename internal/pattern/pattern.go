// Package pattern has regular expressions that are compiled when they are first
// used. Those of package regexp are compiled before main, by every command.
package pattern

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression that does not change. It is safe for many
// goroutines.
type Pattern struct {
	text     string
	once     sync.Once
	compiled *regexp.Regexp
}

// New returns a pattern; its first use panics where it is no regular expression.
func New(text string) *Pattern { return &Pattern{text: text} }

// Regexp returns the expression.
func (p *Pattern) Regexp() *regexp.Regexp {
	p.once.Do(func() { p.compiled = regexp.MustCompile(p.text) })
	return p.compiled
}

// MatchString is that of regexp.Regexp, as are those below.
func (p *Pattern) MatchString(s string) bool { return p.Regexp().MatchString(s) }

// FindStringSubmatch is that of regexp.Regexp.
func (p *Pattern) FindStringSubmatch(s string) []string { return p.Regexp().FindStringSubmatch(s) }

// ReplaceAllString is that of regexp.Regexp.
func (p *Pattern) ReplaceAllString(s, by string) string { return p.Regexp().ReplaceAllString(s, by) }
