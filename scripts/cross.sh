#!/usr/bin/env bash
# cross.sh - everything builds and vets for the other systems we support, and the tests of the
# formats compile there; with -run those of s390x, a big-endian machine, are also run under
# QEMU's user mode.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0

formats=()
for package in fsverity tree dumpfile erofs splitstream; do
	[ ! -d "$package" ] || formats+=("./$package")
done
for target in linux/arm64 linux/s390x darwin/arm64 darwin/amd64; do
	echo "== $target"
	export GOOS=${target%/*} GOARCH=${target#*/}
	"$go" build ./...
	"$go" vet ./...
	mkdir -p "build/cross/$GOOS-$GOARCH"
	"$go" test -c -o "build/cross/$GOOS-$GOARCH/" "${formats[@]}"
done
[ "${1:-}" = -run ] || exit 0
command -v qemu-s390x-static >/dev/null || { echo 'cross: needs qemu-s390x-static (Debian: qemu-user-static)' >&2; exit 1; }
echo '== linux/s390x under QEMU'
# Left out: peers, which are this machine's programs; tests that execute themselves as another user,
# which QEMU's user mode cannot; and long ones about the filesystem, where byte order plays no part.
export COMPOSEFS_REQUIRE='' COMPOSEFS_PEERS=/none
GOOS=linux GOARCH=s390x "$go" test -short -skip 'Extract|Astray|AUserMayNotRead' -exec qemu-s390x-static "${formats[@]}"
