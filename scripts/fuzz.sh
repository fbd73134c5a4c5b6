#!/usr/bin/env bash
# fuzz.sh - run each fuzz target of the module for a while: FUZZTIME, 10s unless set.
# Arguments are packages, ./... if there are none.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
[ $# -gt 0 ] || set -- ./...

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz PACKAGE TARGET. Before Go 1.27 the coordinator can take the end of its own time for a
# failure of the target (go.dev/issue/75804). Such a run found nothing, and is told from one that
# did by its whole message; it is repeated, and must pass in the end. What is interesting is made smaller
# a few times only: by default that would take all of the time for large inputs.
fuzz() {
	local attempt
	for attempt in 1 2 3; do
		"$go" test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 10x "$1" </dev/null 2>&1 | tee "$log" && return
		grep -qx '    context deadline exceeded' "$log" || return 1
		! grep -qE 'Failing input|panic|fuzzing process' "$log" || return 1
		echo "fuzz $1 $2: ended by its own clock, run $attempt is repeated"
	done
	return 1
}

# A target is found in the source: listing by `go test -list` would link every test binary.
"$go" list -f '{{$dir := .Dir}}{{$pkg := .ImportPath}}{{range .TestGoFiles}}{{$pkg}} {{$dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$pkg}} {{$dir}}/{{.}}
{{end}}' "$@" | while read -r package file; do
	[ -n "$package" ] || continue
	sed -nE "s,^func (Fuzz[A-Za-z0-9_]*)\(.*,$package \1,p" "$file"
done | while read -r package target; do
	echo "fuzz $package $target"
	fuzz "$package" "$target"
done
