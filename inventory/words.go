package inventory

// words are the names of fields, and texts that values often hold. Their
// numbers are in every file: words are added at the end, and none is changed or
// taken out without another schema. The first ones take one byte.
var words = []string{
	// Values that every certificate has several of.
	"staged", "activated", "verified", "issued", "rollout_planned", "rollout_done", "valid", "pending", "done", "issue",
	"server", "client", "ecdsa-p256", "files",
	// Names of fields that every certificate has several of.
	"certificate", "host", "type", "generation", "rollout", "message", "state", "revision", "name", "issuer", "key", "request",
	"common_name", "sans", "usages", "steps",

	// Names of fields.
	"adopted", "again", "asked_at", "at", "attempts", "away", "before", "blocked", "budget", "chain_der", "code", "current",
	"deadline", "departed", "down_at", "ended_at", "entry", "entry_digest", "error", "expired_noted", "expiring_noted", "failures",
	"fingerprint_sha256", "force", "foreign", "held", "held_at", "hint", "hosts", "id", "interrupted", "issued_at", "jitter",
	"key_compromised", "key_lost", "kind", "latest", "layout", "leaf", "lifetime", "loaded", "lost", "matches", "next_at", "not_after",
	"not_before", "number", "origin", "pass", "passed", "phase", "placed_at", "placements", "previous", "probed_at", "profile", "quiet", "rated",
	"reasons", "renew_at", "renewal", "reprobe", "requested", "rereads", "revisions", "revoked_at", "rollouts", "roots", "row", "seen",
	"seq", "serial", "served_not_after", "served_sha256", "slots", "started_at", "status", "stopped", "text", "time", "tried", "trust",
	"unactivated", "under", "unwanted", "verified_at", "waiting", "was_foreign", "without",

	// Values.
	"activating", "behind", "changed", "docker-client", "docker-server", "drift", "drifted", "due", "ecdsa-p384", "ed25519",
	"expired", "fleet-ca", "first", "host_added", "issue_warning", "local", "ordering", "place", "renew_time", "renewing",
	"revoked", "rolled_back", "rollback", "rolling", "rollout_blocked", "rollout_superseded", "rollout_waiting", "rsa-2048",
	"rsa-3072", "rsa-4096", "stage_failed", "superseded", "unproven", "unreachable", "probe_failed", "activate_failed", "renewal_failed",
	"recovered", "expiring", "removed", "0.67", "0.05", "issue: never issued", "never issued",

	"content", "settles", "unseen",
	"wait", "why", "since", "until", "asked", "dirs",
	"role", "activates", "settle", "workers", "names", "ordered", "machine",
	"drifted_at", "rollout_problem", "gate", "by", "over_budget_at", "lead",
}
