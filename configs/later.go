package configs

// notYet holds the features of the fleet file whose machinery does not exist,
// each with what to write instead. Their keys are read and checked all the
// same: when the machinery comes, its row goes, and that is all.
var notYet = map[string]string{
	"host type kubernetes": "expected type: local",
}
