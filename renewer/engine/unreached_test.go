package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"renewer/renewer"
)

// What the others got is proven, and who cannot be reached is waited for: the
// pass says so, and the one who asked for it by name decides what that means.
func TestAHostThatCannotBeReachedIsWaitedFor(t *testing.T) {
	away := fmt.Errorf("%w: no route to host", renewer.ErrUnreachable)
	for name, c := range map[string]struct {
		call string
		err  error
		want renewer.Result
	}{
		"before anything is touched":   {"stage", away, renewer.ResultWaiting},
		"with the service in its hand": {"activate", away, renewer.ResultFailed},
		"for another reason":           {"stage", fmt.Errorf("no space left on device"), renewer.ResultFailed},
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, Asked, three, func(t *testing.T, b *bench) {
				b.machine("c").set(func(m *machine) { m.fail = failOn(c.call, c.err) })
				res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
				must(t, err)
				got := res.Rollouts[0]
				if got.Result != c.want || res.Failed() == (c.want == renewer.ResultWaiting) || got.Error == "" {
					t.Errorf("%+v", got)
				}
				if res.Unreached() != errors.Is(c.err, away) {
					t.Errorf("unreached: %v; %+v", res.Unreached(), got.Waiting)
				}
			})
		})
	}
}
