// Package deps keeps dependencies in go.mod whose users are still being written.
package deps

import (
	_ "github.com/hashicorp/vault/api"
	_ "github.com/hashicorp/vault/api/auth/approle"
	_ "github.com/hashicorp/vault/api/auth/kubernetes"
	_ "github.com/nicholas-fedor/shoutrrr"
	_ "github.com/prometheus/exporter-toolkit/web"
	_ "github.com/smallstep/certificates/authority"
	_ "github.com/smallstep/certificates/authority/config"
	_ "github.com/smallstep/certificates/authority/provisioner"
	_ "github.com/smallstep/certificates/ca"
	_ "github.com/smallstep/certificates/db"
	_ "go.step.sm/crypto/jose"
	_ "golang.org/x/time/rate"
)
