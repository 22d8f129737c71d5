# What there is to make: see `make help`.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# The linter's version stands here and nowhere else. It is built from the
# module proxy, away from this module's own go.mod.
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

FUZZTIME  ?= 10s
# make fuzz: below which directories.
FUZZ      ?= .
BENCH     ?= .
BENCHTIME ?= 1s

# make e2e: which of its tests.
E2E ?= .

# make run: where it lives, how long it lasts (0s: until Ctrl-C), and the
# server certificate's lifetime when the fleet file is first written.
QUICKSTART_DIR      ?= var/quickstart
QUICKSTART_FOR      ?= 0s
QUICKSTART_LIFETIME ?= 3m

# Binaries are static and name no path of this machine. The same flags
# everywhere: lint, fuzz and bench then find compiled what build compiled.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)
BUILD = $(GO) build -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := help
.PHONY: help run build test test-norace attack e2e browser test-vault lint fmt api runbooks strings fuzz bench table weight cover clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## a demo in ./var/quickstart: local CA, TLS service, daemon; Ctrl-C ends it
	@$(GO) build -o bin/ ./examples/tlsservice ./examples/quickstart
	@exec bin/quickstart -dir $(QUICKSTART_DIR) -for $(QUICKSTART_FOR) -lifetime $(QUICKSTART_LIFETIME)

build: ## bin/renewer, one static binary
	@$(BUILD) -o bin/renewer ./cmd/renewer

# The race detector needs a C compiler; without one the same tests run without it.
test: ## the tests, in random order, with the race detector where there is a C compiler
	@if command -v "$$($(GO) env CC)" >/dev/null 2>&1; then \
	  CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 20m ./... && \
	  echo "make test: passed; make test-norace runs those that take minutes with the race detector"; \
	else \
	  echo "make test: no C compiler ($$($(GO) env CC)) here, so without the race detector" >&2; \
	  $(GO) test -shuffle=on -timeout 20m ./...; \
	fi

# Those in files with //go:build !race.
test-norace: ## the tests that do not bear the race detector, or take minutes with it
	@set -- $$(grep -rl --include='*_test.go' '^//go:build !race$$' .); \
	  $(GO) test -shuffle=on -timeout 20m \
	    -run "^($$(sed -n 's/^func \(Test[A-Za-z0-9_]*\)(.*/\1/p' "$$@" | paste -sd '|'))$$" \
	    $$(dirname "$$@" | sort -u)

attack: ## 200 rounds of a service's user who swaps names while root works in their directory (root, sshd, sudo)
	@RENEWER_ATTACK=200 $(GO) test -v -count 1 -timeout 30m -run '^TestSwapped' ./renewer/hosts/remote | grep -v '^=== '

# -v, because the first run builds the hosts' tree for two minutes and says so.
e2e: build ## tests against real Docker hosts over SSH (root, Debian or Ubuntu; installs what it needs)
	@e2e/install
	@PATH="$(CURDIR)/bin/tools/prometheus/usr/bin:$$PATH" $(GO) test -tags e2e -v -count 1 -timeout 25m -run '$(E2E)' ./e2e

test-vault: ## the Vault issuer's tests against a real Vault or OpenBao: VAULT_ADDR, VAULT_TOKEN (VAULT_CACERT, VAULT_NAMESPACE); cleans up after itself
	@: "$${VAULT_ADDR:?names the Vault to test against, such as http://127.0.0.1:8200 of vault server -dev}"
	@: "$${VAULT_TOKEN:?is a token that may mount engines, write policies and enable auth methods there}"
	@$(GO) test -tags vault -v -count 1 -timeout 5m -run '^TestRealVault$$' ./issuers/vault

browser: ## the status page in a headless Chromium (installs it where it is missing, as root)
	@e2e/install-browser
	@$(GO) test -tags browser -count 1 -timeout 10m -run '^TestInBrowser' ./renewer/server

lint: $(GOLANGCI) ## go vet, formatting and golangci-lint (.golangci.yml)
	@$(GO) vet -tags e2e,browser,vault ./...
	@$(GOLANGCI) run

fmt: $(GOLANGCI) ## format the source as lint wants it
	@$(GOLANGCI) fmt

runbooks: ## headers and index of docs/runbooks, from the catalogue of problems
	@$(GO) test -count 1 ./docs/runbooks -update

# Built in a directory of its own: a tool is no dependency of the module.
$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION): a few minutes, once" >&2
	@mkdir -p $(@D)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	  (cd "$$dir" && GOBIN="$$dir" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)) && \
	  mv "$$dir/golangci-lint" $@

strings: ## write the lists of all visible strings again (internal/house/testdata/strings)
	@$(GO) test -count 1 -run '^TestVisibleStrings$$' ./internal/house -update

api: ## write openapi.json and docs/api.md again, from the routes and the types of the answers
	@$(GO) test -run '^TestAPIDescriptionIsUpToDate$$' ./renewer/server -args -update

fuzz: ## every fuzz target of the tree, FUZZTIME (10s) each
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $(FUZZ) | sort | while IFS=: read -r file func; do \
	  echo "fuzz $$(dirname "$$file") $${func#func }"; \
	  $(GO) test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null || exit 1; \
	done

bench: ## the benchmarks, as ratios to a floor measured in the same run
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) \
	  $$(grep -rlE --include='*_test.go' '^func Benchmark' . | xargs -r -n1 dirname | sort -u) \
	  | $(GO) run ./internal/benchtable

bench-hosts: ## 50 real sshds that are 20 ms away, beside rsync, scp + ssh and Ansible (root)
	@RENEWER_BENCH_HOSTS=1 $(GO) test -run '^$$' -bench '^BenchmarkHosts50$$' -benchtime 1x ./renewer/hosts/remote | $(GO) run ./internal/benchtable

# The benchmarks of docs/benchmarks.md, once each: minutes.
table: ## the table of docs/benchmarks.md, measured now
	@$(MAKE) --no-print-directory bench BENCHTIME=1x \
	  BENCH='^Benchmark(FromNothing|IssueAndRecord|RenewAll|ProbeRound|Idle100000|List.*10000|Port10000|Trust10000|Start|Load10000|Load100000|Distance|Push200|LocalPlacement|TLSProbe)$$'

# Caches of its own, so it downloads and compiles everything: like a clone's first build.
weight: ## what the product costs a newcomer: binary, packages, downloads, processor time of a cold build (minutes)
	@dir=$$(mktemp -d) && trap 'chmod -R u+w "$$dir" && rm -rf "$$dir"' EXIT && \
	  export GOMODCACHE="$$dir/modules" GOCACHE="$$dir/build" && \
	  packages=$$($(GO) list -deps -f '{{with .Module}}{{if not .Main}}{{$$.ImportPath}}{{end}}{{end}}' ./cmd/renewer | grep -c .) && \
	  bytes=$$(find "$$dir/modules/cache/download" -type f -exec cat {} + | wc -c) && \
	  $(GO) build -ldflags '-s -w -X main.version=$(VERSION)' -o "$$dir/renewer" ./cmd/renewer && \
	  times >"$$dir/times" && \
	  { sed -n 2p "$$dir/times"; echo "$$packages $$bytes $$(wc -c <"$$dir/renewer")"; } | awk ' \
	    function row(what, is, goal, unit) { printf "%-26s %8.1f  goal %4d %s%s\n", what, is, goal, unit, (is > goal) ? "  MISSED" : ""; bad += (is > goal) } \
	    function seconds(t) { split(t, p, /[ms]/); return 60 * p[1] + p[2] } \
	    NR == 1 { cpu = seconds($$1) + seconds($$2) } \
	    NR == 2 { row("stripped binary", $$3 / 1e6, 27, "MB"); row("packages of other modules", $$1, 330, ""); \
	      row("modules to download", $$2 / 1e6, 50, "MB"); row("cold build", cpu, 220, "CPU-s"); exit bad }'

cover: ## test coverage, in coverage.html
	@$(GO) test -coverpkg ./... -coverprofile coverage.out ./... && \
	  $(GO) tool cover -html coverage.out -o coverage.html && \
	  $(GO) tool cover -func coverage.out | tail -n 1

clean: ## remove what was built and the quickstart's state
	@rm -rf bin/renewer bin/tlsservice bin/quickstart coverage.out coverage.html var/quickstart
