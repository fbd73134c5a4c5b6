#!/usr/bin/env bash
# peer-cfsctl.sh - build cfsctl, the program of composefs-rs, for tests: no distribution that the
# tests run on has it. It takes some minutes, once for a user: the program is kept in
# $XDG_CACHE_HOME/composefs-peers (~/.cache), for all checkouts.
#
#   peer-cfsctl.sh DIR    link it into DIR, after building it if need be
#   peer-cfsctl.sh -n     succeed if it is there or cargo could build it; say why not
#   peer-cfsctl.sh -b     succeed if it is not there and cargo could build it
set -euo pipefail
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
version=0.9.4
rust=1.88 # the least that builds it

cache=${XDG_CACHE_HOME:-$HOME/.cache}/composefs-peers
root=$cache/cfsctl-$version
program=$root/bin/cfsctl

can_build() {
	local have
	command -v cargo >/dev/null || { echo 'cfsctl: no cargo to build it with' >&2; return 1; }
	have=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
	[ "$(printf '%s\n' "$rust" "$have" | sort -V | head -n 1)" = "$rust" ] ||
		{ echo "cfsctl: needs Rust $rust, here is ${have:-none that runs}" >&2; return 1; }
}

[ $# = 1 ] || { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }
case $1 in
-n) [ -x "$program" ] || can_build; exit ;;
-b) [ ! -x "$program" ] && can_build; exit ;;
esac

if [ ! -x "$program" ]; then
	can_build || exit 0
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9 # two checkouts may come here at once
fi
if [ ! -x "$program" ]; then
	echo "cfsctl: building $version in $cache" >&2
	# An interrupted build goes on where it was.
	CARGO_TARGET_DIR=$cache/target nice cargo install --quiet --locked --version "$version" --root "$root" \
		composefs-ctl >&2 9>&- || { echo 'cfsctl: the build failed; it needs libssl-dev, pkg-config and clang' >&2; exit 1; }
	rm -rf "$cache/target"
fi
mkdir -p "$1"
ln -sfn "$program" "$1/cfsctl"
