#!/usr/bin/env bash
# fuzz.sh - run each fuzz target of the module for a while: FUZZTIME, 10s unless set.
# Arguments are packages, ./... if there are none.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
[ $# -gt 0 ] || set -- ./...

# A target is found in the source: listing by `go test -list` would link every test binary.
"$go" list -f '{{$dir := .Dir}}{{$pkg := .ImportPath}}{{range .TestGoFiles}}{{$pkg}} {{$dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$pkg}} {{$dir}}/{{.}}
{{end}}' "$@" | while read -r package file; do
	[ -n "$package" ] || continue
	sed -nE "s,^func (Fuzz[A-Za-z0-9_]*)\(.*,$package \1,p" "$file"
done | while read -r package target; do
	echo "fuzz $package $target"
	"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" "$package" </dev/null
done
