//go:build e2e

package e2e

import (
	"os"
	"testing"

	"renewer/internal/testhosts"
)

func TestMain(m *testing.M) { os.Exit(testhosts.Main(m)) }
