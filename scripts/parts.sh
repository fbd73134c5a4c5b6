#!/usr/bin/env bash
# parts.sh - the optional parts of the tests that can run on this machine, comma separated, in
# the form of COMPOSEFS_REQUIRE. With -v one line for each part, with the reason where it cannot.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
verbose=${1:-}
peers=${COMPOSEFS_PEERS:-build/peers}/bin
shared=${COMPOSEFS_SHARED:-$(dirname "$(realpath "$0")")/../../shared}
can=()

# part NAME REASON COMMAND...: the part can run if the command succeeds.
part() {
	local name=$1 reason=$2
	shift 2
	if "$@" >/dev/null 2>&1; then
		can+=("$name")
		[ -z "$verbose" ] || printf '  %-10s yes\n' "$name"
	else
		[ -z "$verbose" ] || printf '  %-10s no: %s\n' "$name" "$reason"
	fi
}
have() { local program; for program; do [ -x "$peers/$program" ] || command -v "$program" || return 1; done; }
runs() { "$peers/$1" --version || "$1" --version; }

part root 'not root, or not allowed to mount' \
	unshare -m sh -c 'mount -t tmpfs none /mnt'
part peers 'make peers did not arrive' have mkcomposefs composefs-info mount.composefs
part cfsctl 'make peers had no cargo to build it with, or failed' runs cfsctl
part mkfs 'no mkfs.erofs (make peers) or mkfs.btrfs (make deps)' have mkfs.erofs mkfs.btrfs
part fsck 'no fsck.erofs: make peers' have fsck.erofs dump.erofs
part fsverity 'no fsverity: make deps' have fsverity
part vm 'no QEMU or a tool to make a guest: make deps' \
	have qemu-system-x86_64 busybox cpio depmod modprobe xz mkfs.ext4 debugfs dpkg-deb
part containers "no skopeo, umoci, docker-registry, podman, crun, runc or mmdebstrap: make deps" \
	have skopeo umoci docker-registry podman crun runc mmdebstrap htpasswd
part openssl 'no openssl: make deps' have openssl
part browser 'no Chromium: make deps' have chromium
part shared 'no shared test data beside the checkout' [ -d "$shared/testdata" ]
[ -n "$verbose" ] || (IFS=,; echo "${can[*]}")
