package configs

// notYet holds the features of the fleet file whose machinery does not exist,
// each with what to write instead. Their keys are read and checked all the
// same: when the machinery comes, its row goes, and that is all.
var notYet = map[string]string{
	"host type kubernetes": "expected type: local",
	"budget":               "expected timeout alone",
	"peer_group":           "expected no peer_group",
	"dials":                "expected no dials",
	"reloads":              "expected no reloads; renewer profiles shows what each service does",
	"notify":               "expected no notify section",
	"web_config":           "expected listen alone, on a loopback address",
}
