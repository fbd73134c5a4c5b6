#!/usr/bin/env bash
# images.sh - tars of real file systems for tests and benchmarks of container images: a small Debian, and packages
# on top of it, made by mmdebstrap from the mirror that this machine uses. Each is made once and kept.
#
#   images.sh DIR        DIR/base.tar
#   images.sh DIR full   also four tars of packages; all five hold more than 1.3 GB
#
# The tars of packages have whatever those depend on as well, so that they share files with each other.
set -euo pipefail
dir=${1:?images.sh DIR [full]}
command -v mmdebstrap >/dev/null || { echo 'images: needs mmdebstrap: apt-get install mmdebstrap' >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo 'images: needs root, whose files the tars hold' >&2; exit 1; }
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9

# make NAME OPTION...: a tar whose times do not depend on when it is made.
make() {
	local name=$1
	shift
	[ ! -e "$dir/$name.tar" ] || return 0
	echo "images: making $name.tar" >&2
	SOURCE_DATE_EPOCH=1700000000 mmdebstrap --quiet --mode=root --format=tar "$@" "$suite" "$dir/.$name.tar" </dev/null >&2
	mv "$dir/.$name.tar" "$dir/$name.tar"
}

make base --variant=minbase
[ "${2:-}" = full ] || exit 0
make build --variant=extract --include=build-essential,cmake
make java --variant=extract --include=openjdk-17-jdk-headless
make llvm --variant=extract --include=llvm-14,clang-14
make python --variant=extract --include=python3-scipy,python3-pip,nodejs
