#!/usr/bin/env bash
# lint.sh - formatting, vet and the linters, at the versions that tools/go.mod names.
# Arguments are packages, ./... if there are none.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0
[ $# -gt 0 ] || set -- ./...
tool() { "$go" tool -modfile=tools/go.mod "$@"; }

failed=0
echo '== gofumpt'
unformatted=$(tool gofumpt -l .)
[ -z "$unformatted" ] || { printf 'not formatted as gofumpt does:\n%s\n' "$unformatted"; failed=1; }
echo '== go vet'
"$go" vet -tags vmguest "$@" || failed=1
echo '== staticcheck'
tool staticcheck -tags vmguest "$@" || failed=1
echo '== golangci-lint'
tool golangci-lint run "$@" || failed=1
exit $failed
