#!/usr/bin/env bash
# demo.sh - the main job on two real directory trees: make an image of each and one store for
# both, mount the images, read everything back against the sources, and show how much is stored
# only once. Whatever it made is gone afterwards, also when it fails or is interrupted.
#
#   demo.sh [TREE TREE]
#
# By default the trees are the Go compiler's sources with the modules it was built with, and the
# golang.org/x modules that this project fetched: other versions of some of the same files.
# As root the kernel mounts the images; otherwise they are exported to directories.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}

case $# in
0)
	"$go" mod download
	set -- "$("$go" env GOROOT)/src/cmd" "$("$go" env GOMODCACHE)/golang.org/x"
	;;
2) ;;
*) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2 ;;
esac
composefs=$PWD/bin/composefs
[ -x "$composefs" ] || { echo 'demo: no bin/composefs: make build' >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/composefs-demo.XXXXXX")
mounted=()
# shellcheck disable=SC2317 # called by the trap
cleanup() {
	local mnt
	for mnt in "${mounted[@]}"; do "$composefs" umount "$mnt" || :; done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ composefs %s\n' "$*"; "$composefs" "$@"; }
# bytes DIR: how much the files below hold together, and how many they are.
bytes() { find "$1" -type f -printf '%s\n' | awk '{n++; s += $1} END {printf "%d %d\n", s, n}'; }
megabytes() { awk -v n="$1" 'BEGIN {printf "%.1f MB", n / 1e6}'; }
# listing DIR: type, mode, owner, size, time and target of everything below.
listing() { (cd "$1" && find . \( -type d -printf '%P %y %m %U:%G %T@\n' -o -printf '%P %y %m %U:%G %s %T@ %l\n' \) | LC_ALL=C sort); }

say 'Two trees, two images, one store'
n=0
for tree; do
	n=$((n + 1))
	run build --store "$work/store" "$tree" "$work/image$n"
done

say "Reading them back against their sources"
n=0
for tree; do
	n=$((n + 1))
	mnt=$work/tree$n
	mkdir "$mnt"
	how=''
	if [ "$(id -u)" = 0 ] && run mount --store "$work/store" "$work/image$n" "$mnt"; then
		mounted+=("$mnt")
		how='mounted by the kernel'
	else
		[ "$(id -u)" != 0 ] || echo 'the kernel refuses to mount here'
		[ "$(id -u)" = 0 ] || echo 'only root can have the kernel mount an image'
		run export --store "$work/store" "$work/image$n" "$mnt"
		how='exported'
	fi
	diff -r --no-dereference "$tree" "$mnt"
	if [ "$(id -u)" = 0 ]; then diff <(listing "$tree") <(listing "$mnt"); fi
	echo "$tree: $(find "$mnt" | wc -l) entries, $how, equal to the source"
done

say 'What is stored once'
total=0
for tree; do
	read -r size count < <(bytes "$tree")
	total=$((total + size))
	echo "$tree: $count files, $(megabytes "$size")"
done
read -r stored objects < <(bytes "$work/store")
read -r images _ < <(find "$work" -maxdepth 1 -name 'image*' -type f -printf '%s\n' | awk '{s += $1} END {print s, NR}')
shared=$(comm -12 <("$composefs" objects "$work/image1") <("$composefs" objects "$work/image2") | wc -l)
echo "store: $objects objects, $(megabytes "$stored"); both images: $(megabytes "$images")"
echo "$shared objects are in both trees; $(megabytes $((total - stored - images))) of $(megabytes "$total") need no space"
[ "$shared" -gt 0 ] || { echo 'demo: the trees share nothing' >&2; exit 1; }

if [ ${#mounted[@]} -gt 0 ]; then
	say 'Unmounting'
	for mnt in "${mounted[@]}"; do run umount "$mnt"; done
	mounted=()
	if grep -F "$work" /proc/self/mountinfo; then echo 'demo: left mounted' >&2; exit 1; fi
fi
say 'Done; nothing is left behind'
