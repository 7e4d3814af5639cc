# signerd: `make demo` shows it working, `make test` proves it. Nothing has to be installed but Go and make; tests that
# hold signatures against other people's libraries also use Node with npm, and openssl.

.DELETE_ON_ERROR:
SHELL := /bin/sh

BUF         := go tool -modfile=tools/buf/go.mod buf
STATICCHECK := go tool -modfile=tools/staticcheck/go.mod staticcheck
GOFILES      = $(shell git ls-files --cached --others --exclude-standard '*.go' | grep -v '^gen/')
FUZZTIME   ?= 60s

.PHONY: demo build fips secret test test-fips test-clients lint generate breaking check-generated check-unit fuzz soak-audit soak-keys soak-clients bench microbench clean

demo: build
	go build -o bin/demo ./internal/demo
	bin/demo -bin bin

build:
	go build -o bin/signerd ./cmd/signerd
	go build -o bin/signerctl ./cmd/signerctl
	go build -o bin/signerd-kms-file ./cmd/signerd-kms-file

# With the frozen module that has a certificate; GODEBUG=fips140=only at run time refuses everything outside of it.
fips:
	GOFIPS140=certified go build -o bin/fips/signerd ./cmd/signerd
	GOFIPS140=certified go build -o bin/fips/signerctl ./cmd/signerctl

# Erases registers, stack and freed memory after each signature, where Go can (an experiment of Go's, Linux on amd64 and arm64).
secret:
	GOEXPERIMENT=runtimesecret go build -o bin/secret/signerd ./cmd/signerd

test: internal/interop/node_modules/.package-lock.json
	go test -race -timeout 15m ./...

# The whole suite, programs that it starts included, with that module enforced.
test-fips: internal/interop/node_modules/.package-lock.json
	GOFIPS140=certified GODEBUG=fips140=only go test -timeout 15m ./...

.PHONY: test-secret
# What computes with secrets, and the whole program, built as `make secret` builds it.
test-secret:
	GOEXPERIMENT=runtimesecret go test -timeout 15m ./internal/secret ./internal/process ./upstream/...

# Without npm the tests that need it say so; with CI=true they fail.
internal/interop/node_modules/.package-lock.json: internal/interop/package.json internal/interop/package-lock.json internal/interop/.npmrc
	if command -v npm >/dev/null; then cd internal/interop && npm ci --silent; fi

lint:
	@test -z "$$(gofmt -l $(GOFILES) | tee /dev/stderr)"
	go vet ./...
	$(STATICCHECK) ./...
	$(BUF) lint
	$(BUF) format --diff --exit-code proto

# Go code from the proto files, and protovalidate's rules from the Go module that publishes them.
generate:
	cd tools/protovalidate && go mod download github.com/bufbuild/protovalidate
	dir=$$(cd tools/protovalidate && go list -m -f '{{.Dir}}' github.com/bufbuild/protovalidate) && \
		install -m 644 "$$dir/proto/protovalidate/buf/validate/validate.proto" third_party/protovalidate/buf/validate/ && \
		install -m 644 "$$dir/LICENSE" third_party/protovalidate/
	$(BUF) generate

check-generated: generate
	test -z "$$(git status --porcelain -- gen third_party | tee /dev/stderr)"

# Holds the contract against the last release; before the first one there is nothing to hold it against.
breaking:
	tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || { echo "no release yet: nothing to compare with"; exit 0; }; \
		$(BUF) breaking proto --against ".git#tag=$$tag,subdir=proto"

# The clients in five languages against a real signerd and the local partners. Needs their tools (Python, Node with npm, JDK with Maven, cargo)
# and fetches their packages.
test-clients:
	go test -tags clients -count 1 -timeout 30m ./clients

# Each fuzz target for FUZZTIME. Not part of `make test`.
fuzz:
	set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$file); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

# How exposed the unit is, by systemd's own measure: under 2.0. `make test` only compares its directives where there is no systemd-analyze.
check-unit:
	systemd-analyze security --offline=true --threshold=20 docs/systemd/signerd.service

# The audit log held to docs/audit.md for minutes: 200 kills, floods of refused calls, and 1,000 of each change of its files.
# Not part of `make test`.
soak-audit:
	SIGNERD_SOAK=1 go test -count 1 -v -skip TestManyKeys -timeout 30m ./internal/soak
	SIGNERD_SOAK=1 go test -count 1 -v -run TestEveryChange -timeout 30m ./audit/reader

# 10,000 keys: how long a start takes, and whether they sign as ten do. Two minutes; not part of `make test`.
soak-keys:
	SIGNERD_SOAK=1 go test -count 1 -v -run TestManyKeys -timeout 15m ./internal/soak

# 100,000 random requests through package client and the real signerd to the local partners, and 1,000 each through Python and TypeScript;
# SEED=… for those of another run. Not part of `make test`, which sends 2,000.
soak-clients:
	SIGNERD_SOAK=1 go test -count 1 -v -run TestRandomRequests -timeout 60m ./client
	SIGNERD_SOAK=1 go test -tags clients -count 1 -v -run TestRandomRequests -timeout 30m ./clients

# What signerd costs beside raw cryptography, a bare gRPC server and a signerd without an audit log; `bin/bench -h` says how to measure less of it.
bench: build
	go build -tags unaudited -o bin/signerd-unaudited ./cmd/signerd
	go build -o bin/bench ./internal/bench
	bin/bench -bin bin

microbench:
	go test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin
