package cleanenv

import (
	"slices"
	"testing"
)

func TestNothingOfOursIsHandedOn(t *testing.T) {
	t.Parallel()
	got := Of([]string{"VAULT_TOKEN=x", "HOME=/root", "NOTIFY_SOCKET=/run/x", "LC_ALL=de_DE", "PATH=/bin", "AWS_SECRET_ACCESS_KEY=y", "PATHS=z", "SSH_AUTH_SOCK=/s"})
	if want := []string{"LC_ALL=C", "HOME=/root", "PATH=/bin"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Of(nil); !slices.Equal(got, []string{"LC_ALL=C", "PATH=" + path}) {
		t.Errorf("of none: %v", got)
	}
}
