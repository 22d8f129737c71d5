package renewer

import (
	"slices"
	"testing"
)

func TestOfSeveralPassesTheLastOneHasTheLastWord(t *testing.T) {
	t.Parallel()
	first := RunResult{Rollouts: []RolloutResult{{Certificate: "a", Rollout: "a#1", Result: ResultWaiting}, {Certificate: "c", Rollout: "c#1", Result: ResultVerified}}}
	next := RunResult{Rollouts: []RolloutResult{{Certificate: "a", Rollout: "a#2", Result: ResultVerified}, {Certificate: "b", Rollout: "b#1", Result: ResultFailed}}}
	var got []string
	for _, r := range first.Then(next).Then(RunResult{}).Rollouts {
		got = append(got, r.Rollout+" "+string(r.Result))
	}
	if want := []string{"a#2 verified", "b#1 failed", "c#1 verified"}; !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
