#!/usr/bin/env bash
# test.sh - go test with every optional part that this machine can run made compulsory: a test
# that would skip although its part is here fails instead.
#
#   test.sh [GO TEST FLAGS] PACKAGES
set -euo pipefail
cd "$(dirname "$0")/.."
COMPOSEFS_REQUIRE=${COMPOSEFS_REQUIRE:-$(scripts/parts.sh)}
export COMPOSEFS_REQUIRE
echo "compulsory parts: ${COMPOSEFS_REQUIRE:-none}"
# Results are not taken from the cache: it does not know of programs that tests build and run.
"${GO:-go}" test -count=1 "$@"
