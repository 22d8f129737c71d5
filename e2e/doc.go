// Package e2e tests renewer against real Docker hosts: see internal/testhosts.
// Its tests have the build tag e2e; `make e2e` runs them.
package e2e
