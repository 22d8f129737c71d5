package page

import "renewer/renewer"

// stage is how far a rollout is on a host, as people count it.
type stage int

const (
	failed stage = iota // shown first
	waiting
	staged
	activated
	verified
)

// stages are their names and looks.
var stages = [...]look{
	failed: {bad, signs[bad], "failed"}, waiting: {idle, signs[idle], "not begun"}, staged: {busy, signs[busy], "staged"},
	activated: {busy, signs[busy], "activated"}, verified: {good, signs[good], "verified"},
}

func stageOf(s renewer.StepState) stage {
	switch s {
	case renewer.StepStaged:
		return staged
	case renewer.StepActivating, renewer.StepActivated, renewer.StepUnproven:
		return activated
	case renewer.StepVerified:
		return verified
	case renewer.StepRestoring, renewer.StepRestored, renewer.StepRolledBack, renewer.StepBlocked:
		return failed
	default:
		return waiting
	}
}
