package engine

import (
	"context"
	"fmt"
	"slices"

	"renewer/renewer"
)

// Unmoved says which moved: of the fleet file take nothing over, and why. One that is done
// is not among them.
func (e *Engine) Unmoved(ctx context.Context) (texts []string, err error) {
	err = e.try(ctx, func() error { texts, err = e.unmoved(); return err })
	return texts, err
}

func (e *Engine) unmoved() (texts []string, err error) {
	says := func(c renewer.Certificate) bool { return c.From != "" }
	if !slices.ContainsFunc(e.fleet.Certificates, says) {
		return nil, nil
	}
	left, err := e.allLeft()
	if err != nil {
		return nil, err
	}
	known, order := map[string]bool{}, []renewer.Certificate(nil) // by entry
	for _, c := range e.fleet.Certificates {
		if !says(c) {
			continue
		}
		if _, seen := known[c.Entry]; !seen {
			order = append(order, c)
		}
		text, is, err := e.movedNot(c, left)
		if err != nil {
			return nil, err
		}
		if known[c.Entry] = known[c.Entry] || is; text != "" {
			texts = append(texts, text)
		}
	}
	for _, c := range order {
		if !known[c.Entry] {
			texts = append(texts, fmt.Sprintf("certificate %q has moved: {from: %s}, and nothing is called %s in the inventory", c.Entry, c.From, c.From))
		}
	}
	return texts, nil
}

// movedNot says why a certificate does not take over what left under its former name;
// empty where it does, has done so, or nothing is left. is: the inventory knows that name.
func (e *Engine) movedNot(c renewer.Certificate, left map[string]renewer.Record) (text string, is bool, err error) {
	if _, heir := e.heirs[c.Name]; heir || e.awaited[c.Name] != "" {
		return "", true, nil
	}
	rec, has, err := e.Store.Record(c.Name)
	if err != nil {
		return "", false, err
	}
	for _, name := range c.FormerNames() {
		_, found, err := e.Store.Record(name)
		if err != nil {
			return "", false, err
		}
		if is = is || found; rec.WasCalled(name) {
			return "", true, nil
		}
		if _, orphaned := left[name]; !orphaned || text != "" {
			continue
		}
		why := "nothing of " + name + " is in place on its hosts"
		if has {
			why = "it has a state of its own"
		}
		text = fmt.Sprintf("certificate %q takes nothing over from %s: %s; %s stays orphaned until it expires or you run: renewer forget %s", c.Name, name, why, name, name)
	}
	return text, is, nil
}
