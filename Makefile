# composefs: build, test, measure. `make help` lists the targets.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --match 'v*' --always --dirty 2>/dev/null || echo unknown)

MODULE := github.com/go-composefs/composefs
PEERS  := $(CURDIR)/build/peers
TOOL   := CGO_ENABLED=0 $(GO) tool -modfile=tools/go.mod

export CGO_ENABLED = 0
export COMPOSEFS_PEERS ?= $(PEERS)
export VMTEST_CACHE ?= $(CURDIR)/build/vm

.DEFAULT_GOAL := build
.PHONY: build install test test-vm race fuzz lint cross cross-run bench bench-quick demo peers deps clean distclean help

build: ## bin/composefs and the names it also answers to
	$(GO) build -trimpath -ldflags '-s -w -X $(MODULE)/internal/version.version=$(VERSION)' -o bin/composefs ./cmd/composefs
	ln -sf composefs bin/mkcomposefs
	ln -sf composefs bin/composefs-info
	ln -sf composefs bin/mount.composefs

install: build ## the program, its other names, manual pages and completions, into $(DESTDIR)$(PREFIX)
	install -D -m 755 bin/composefs $(DESTDIR)$(PREFIX)/bin/composefs
	ln -sf composefs $(DESTDIR)$(PREFIX)/bin/mkcomposefs
	ln -sf composefs $(DESTDIR)$(PREFIX)/bin/composefs-info
	install -d $(DESTDIR)$(PREFIX)/sbin
	ln -sf ../bin/composefs $(DESTDIR)$(PREFIX)/sbin/mount.composefs
	bin/composefs man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/composefs completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/composefs
	bin/composefs completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_composefs
	bin/composefs completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/composefs.fish

deps: ## programs the tests use: installs Debian packages if root, else names what is missing
	@scripts/deps.sh

peers: ## the C implementation and erofs-utils from Debian, in build/peers
	@scripts/peers.sh $(PEERS)

test: deps ## all tests, also those that need root, the peers and a virtual machine, where possible
	-@scripts/peers.sh $(PEERS)
	@scripts/test.sh ./...

test-vm: deps ## only the tests with real fs-verity, in a virtual machine
	COMPOSEFS_REQUIRE=vm $(GO) test -count=1 -v ./test/vm

race: ## all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./...

fuzz: ## each fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh

lint: ## gofumpt, go vet, staticcheck, golangci-lint with the import-direction rules
	@scripts/lint.sh

cross: ## builds, vets and compiles the format tests for other systems
	@scripts/cross.sh

cross-run: ## also runs the format tests for s390x (big endian) under QEMU's user mode
	@scripts/cross.sh -run

bench: build peers ## measures against the peers and writes the tables of docs/benchmarks.md
	for part in images repository containers; do \
		$(GO) run ./test/bench -peers $(PEERS) -bin bin -doc docs/benchmarks.md -part $$part || exit; \
	done

bench-quick: build peers ## the same on small inputs: does the harness work, do the outputs agree
	$(GO) run ./test/bench -peers $(PEERS) -bin bin -quick

demo: build ## the main job on real trees of this machine
	@scripts/demo.sh

clean: ## what was built
	rm -rf bin build/bench build/cross

distclean: clean ## and what was fetched
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
