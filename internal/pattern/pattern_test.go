package pattern

import (
	"sync"
	"testing"
)

func TestPatternIsCompiledWhenItIsUsed(t *testing.T) {
	t.Parallel()
	p := New(`^r([0-9]+)$`)
	if p.compiled != nil {
		t.Error("it is compiled before")
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if !p.MatchString("r17") || p.MatchString("r") || p.ReplaceAllString("r17", "$1") != "17" || p.FindStringSubmatch("r17")[1] != "17" {
				t.Error("it does not match as it should")
			}
		})
	}
	all.Wait()
	defer func() {
		if recover() == nil {
			t.Error("what is no regular expression is taken for one")
		}
	}()
	New("(").MatchString("")
}
