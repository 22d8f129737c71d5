// Package deps keeps dependencies in go.mod whose users are still being written.
package deps

import (
	_ "github.com/nicholas-fedor/shoutrrr"
	_ "github.com/prometheus/exporter-toolkit/web"
	_ "golang.org/x/time/rate"
)
