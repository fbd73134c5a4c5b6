#!/usr/bin/env bash
# deps.sh - the programs that the tests use beyond Go: installs what is missing on a Debian
# machine where it runs as root, and otherwise names it. It never fails: a test that misses its
# program is skipped with a reason, unless COMPOSEFS_REQUIRE says otherwise (docs/testing.md).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(dirname "$(realpath "$0")")

# program and the Debian package that has it
needs='
busybox busybox-static
chromium chromium
cpio cpio
crun crun
debugfs e2fsprogs
docker-registry docker-registry
fsverity fsverity
gcc gcc
mkfs.btrfs btrfs-progs
mmdebstrap mmdebstrap
htpasswd apache2-utils
modprobe kmod
mount mount
openssl openssl
podman podman
qemu-s390x-static qemu-user-static
qemu-system-x86_64 qemu-system-x86
runc runc
setfacl acl
setfattr attr
skopeo skopeo
umoci umoci
xz xz-utils
'
to_build='' # cfsctl with cargo, see peer-cfsctl.sh
if "$here/peer-cfsctl.sh" -b 2>/dev/null; then
	to_build=yes
	needs+='clang clang
pkg-config pkg-config
'
fi
missing=() packages=()
while read -r program package; do
	[ -n "$program" ] || continue
	if ! command -v "$program" >/dev/null; then
		missing+=("$program")
		packages+=("$package")
	fi
done <<<"$needs"
# gcc alone cannot link; the race detector needs the C library's headers too.
if [ ! -e /usr/include/stdlib.h ]; then
	missing+=(stdlib.h)
	packages+=(libc6-dev)
fi
if [ -n "$to_build" ] && [ ! -e /usr/include/openssl/ssl.h ]; then
	missing+=(openssl/ssl.h)
	packages+=(libssl-dev)
fi
if [ ! -r /usr/share/keyrings/debian-archive-keyring.gpg ]; then
	missing+=(debian-archive-keyring.gpg)
	packages+=(debian-archive-keyring)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "installing ${packages[*]}" >&2
	if { apt-get -qq -o Acquire::Retries=3 update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Acquire::Retries=3 --no-install-recommends \
			install "${packages[@]}"; } </dev/null >&2; then
		exit 0
	fi
	echo 'deps: apt-get failed' >&2
fi
echo "deps: missing ${missing[*]}: tests that need them will be skipped" >&2
echo "deps: as root on Debian: apt-get install ${packages[*]}" >&2
