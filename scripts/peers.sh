#!/usr/bin/env bash
# peers.sh - fetch the other implementations and the EROFS tools for tests and benchmarks:
# Debian's packages composefs and erofs-utils, with the libraries they need, unpacked into a
# directory of their own; and cfsctl of composefs-rs, where cargo can build it.
#
#   peers.sh DIR [SUITE [PACKAGE...]]     (default: forky composefs erofs-utils)
#
# DIR/root gets the files; DIR/bin a wrapper for every program of the packages, which runs it
# with its own loader and libraries, or a link to cfsctl. What is there already is left as it is.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=scripts/private-apt.sh
. "$here/private-apt.sh"

[ $# -ge 1 ] || { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }
dir=$(realpath -m "$1")
suite=${2:-forky}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- composefs erofs-utils

# Without cfsctl the rest is good for most: its tests are skipped then, or fail if it must be there.
build_cfsctl() { "$here/peer-cfsctl.sh" "$dir/bin" || true; }

stamp=$dir/complete
if [ "$(cat "$stamp" 2>/dev/null)" = "$suite $*" ]; then
	build_cfsctl
	exit 0
fi
for tool in apt-get dpkg-deb; do
	command -v $tool >/dev/null || { echo "peers: needs $tool: the peers are Debian packages" >&2; exit 1; }
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
private_apt "$tmp/apt" "$suite"
apt-get -qq -y --download-only install "$@" >&2
rm -rf "$dir"
mkdir -p "$dir/root" "$dir/bin"
for deb in "$tmp"/apt/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
rm -rf "$dir/root/usr/share" # documents, in which the go command finds symlinks to warn of

loader=$(find "$dir/root/" -name 'ld-linux*.so.*' | sort | head -n 1)
libs=$(find "$dir/root/" -maxdepth 3 -type d -path '*/lib/*-linux-gnu*' | paste -sd:)
for package; do
	deb=$(find "$tmp/apt/cache/archives" -name "${package}_*.deb" | head -n 1)
	dpkg-deb -W --showformat '${Package} ${Version}\n' "$deb" >>"$dir/versions"
	dpkg-deb --fsys-tarfile "$deb" | tar -t
done | sed -nE 's,^\./(usr/s?bin/[^/]+)$,\1,p' | while read -r prog; do
	name=${prog##*/} prog=$dir/root/$prog
	[ "$(head -c 4 "$prog" | tail -c 3)" = ELF ] || continue
	printf '#!/bin/sh\nexec %s --argv0 %s --library-path %s %s "$@"\n' \
		"$loader" "$name" "$libs" "$prog" >"$dir/bin/$name"
	chmod 755 "$dir/bin/$name"
done
printf '%s\n' "$suite $*" >"$stamp"
build_cfsctl
echo "peers: $(cd "$dir/bin" && echo *) in $dir/bin" >&2
