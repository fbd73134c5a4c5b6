#!/usr/bin/env bash
# vmtest.sh - run one static program as root in a throw-away QEMU guest whose Debian kernel has
# fs-verity, EROFS and overlayfs; hand back its output and its exit status. Needs neither KVM
# nor root, and installs nothing.
#
#   vmtest.sh [options] [--] PROGRAM [ARG...]
#     -a HOST[:GUEST]  copy a file or directory to /vm/GUEST (repeatable)
#     -o DIR           copy the guest's /vm/out to DIR afterwards
#     -s MIB           size of the /vm disk     (default 256)
#     -m MIB           guest memory             (default 1024)
#     -t SECONDS       give up after that long  (default 120)
#     -k SUITE[/PKG]   Debian suite and kernel package
#                      (default trixie-backports/linux-image-cloud-amd64)
#     -q ARG           one more argument for QEMU (repeatable)
#     -p               only prepare the kernel (download, unpack), run nothing
#     -v               show the guest's kernel console on stderr
#     -K               keep the scratch directory and say where it is
#
# In the guest / is an initramfs with busybox in /bin, /vm is a fresh ext4 with the verity
# feature and 4 KiB blocks on /dev/vda, and the current directory; stdin is /dev/null, stdout and
# stderr arrive on this script's stdout. The kernel is kept in $VMTEST_CACHE (~/.cache/vmtest).
#
# Exit status: the program's own; 124 if it took too long; 125 if the guest never reported or
# something is missing here.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=scripts/private-apt.sh
. "$here/private-apt.sh"

die() { printf 'vmtest: %s\n' "$*" >&2; exit 125; }

suite=trixie-backports pkg=linux-image-cloud-amd64
mem=1024 limit=120 size=256 out='' keep='' verbose='' prepare_only=''
modules='virtio_blk loop erofs overlay'
add=() more=()
while getopts a:o:s:m:t:k:q:Kvph opt; do
	case $opt in
	a) add+=("$OPTARG") ;;
	o) out=$OPTARG ;;
	s) size=$OPTARG ;;
	m) mem=$OPTARG ;;
	t) limit=$OPTARG ;;
	k) suite=${OPTARG%%/*}; case $OPTARG in */*) pkg=${OPTARG#*/} ;; esac ;;
	q) more+=("$OPTARG") ;;
	K) keep=1 ;;
	v) verbose=1 ;;
	p) prepare_only=1 ;;
	h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
	*) exit 125 ;;
	esac
done
shift $((OPTIND - 1))
[ -n "$prepare_only" ] || [ $# -ge 1 ] || die 'no program given (-h for help)'

PATH=$PATH:/usr/sbin:/sbin
for tool in qemu-system-x86_64 busybox cpio depmod modprobe xz mkfs.ext4 debugfs flock dpkg-deb apt-get; do
	command -v $tool >/dev/null ||
		die "needs $tool: apt-get install qemu-system-x86 busybox-static cpio kmod xz-utils e2fsprogs"
done
[ "$(dpkg --print-architecture)" = amd64 ] || die 'amd64 hosts only'
busybox=$(command -v busybox)
# A dynamic busybox cannot run in the bare initramfs.
if LC_ALL=C ldd "$busybox" >/dev/null 2>&1; then die "$busybox is not static: install busybox-static"; fi

# ---- the kernel and its modules --------------------------------------------
cache=${VMTEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmtest}
kernel=$cache/$suite-$pkg
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

fetch_kernel() {
	local dir names deb modules version image
	dir=$(mktemp -d "$cache/get.XXXXXX")
	private_apt "$dir/apt" "$suite" || die "no package lists of $suite"
	# Behind the meta package stands one image or, since Linux 7, binary, modules and base.
	# What else it depends on (initramfs tools, boot loader glue) is of no use here.
	names=$(apt-cache depends --recurse --important "$pkg" 2>/dev/null |
		grep -E '^linux-(image|binary|modules|base)-[0-9]' | sort -u) || die "no kernel behind $pkg in $suite"
	mkdir "$dir/debs" "$dir/tree"
	# shellcheck disable=SC2086 # a list of names
	(cd "$dir/debs" && apt-get -qq download $names >&2) || die "download of $names failed"
	unset APT_CONFIG
	for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/tree"; done

	modules=$(find "$dir/tree" -path '*/modules/*/kernel' -type d -printf '%h\n' | head -n 1)
	[ -n "$modules" ] || die "no modules in $names"
	version=${modules##*/}
	image=$(find "$dir/tree" -name 'vmlinuz*' -type f | head -n 1)
	mkdir -p "$dir/kernel/lib/modules"
	mv "$image" "$dir/kernel/vmlinuz"
	mv "$modules" "$dir/kernel/lib/modules/$version"
	depmod -b "$dir/kernel" "$version"
	printf '%s\n' "$version" >"$dir/kernel/version"
	rm -rf "$kernel"
	mv "$dir/kernel" "$kernel"
	rm -rf "$dir"
}
[ -s "$kernel/version" ] || fetch_kernel
version=$(cat "$kernel/version")

# ---- the initramfs: busybox, the modules, one script ------------------------
# Its name says everything that goes into it, so that a change makes a new one.
initrd=$cache/initrd-$(cat "$kernel/version" "$busybox" "$here/vmtest.sh" | cksum | cut -d' ' -f1)

# add_modules ROOT: copies each module after those it needs, and lists them in that order.
add_modules() {
	local root=$1 module line file n=0
	mkdir "$root/modules"
	for module in $modules; do
		while read -r line; do
			case $line in insmod\ *) ;; *) continue ;; esac # others are built in
			file=${line#insmod } file=${file%% *}
			! grep -qxF "$file" "$root/modules/seen" 2>/dev/null || continue
			printf '%s\n' "$file" >>"$root/modules/seen"
			n=$((n + 1))
			case $file in
			*.xz) xz -dc "$file" ;;
			*.zst) zstd -qdc "$file" ;;
			*) cat "$file" ;;
			esac >"$root/modules/$n.ko"
			printf '%s.ko\n' "$n" >>"$root/modules/list"
		done < <(modprobe -d "$kernel" -S "$version" --show-depends "$module")
	done
}

make_initrd() {
	local root=$1
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,etc,mnt,vm}
	cp "$busybox" "$root/bin/busybox"
	printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	add_modules "$root"
	cat >"$root/init" <<-'INIT'
		#!/bin/busybox sh
		bb=/bin/busybox
		$bb mount -t devtmpfs dev /dev
		$bb mount -t proc proc /proc
		$bb mount -t sysfs sys /sys
		$bb mount -t tmpfs tmp /tmp
		$bb --install -s /bin
		export PATH=/bin:/vm/bin HOME=/ LANG=C TMPDIR=/tmp
		while read -r m; do insmod /modules/$m || echo "vmtest: insmod $m failed"; done </modules/list
		for p in /sys/class/virtio-ports/*; do
			read -r name <$p/name && eval "port_$name=/dev/${p##*/}"
		done 2>/dev/null
		echo up >$port_status
		fin() { echo "exit $1" >$port_status; sync; poweroff -f; sleep 60; }
		mount -t ext4 /dev/vda /vm || fin 125
		ip link set lo up 2>/dev/null
		cd /vm
		sh /vm/.vmtest </dev/null >$port_out 2>&1
		rc=$?
		cd /
		umount /vm 2>/dev/null || { sync; mount -o remount,ro /vm; } 2>/dev/null
		fin $rc
	INIT
	chmod 755 "$root/init"
}

if [ ! -s "$initrd" ]; then
	tmp=$(mktemp -d "$cache/initrd.XXXXXX")
	make_initrd "$tmp/root"
	(cd "$tmp/root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$tmp/cpio"
	find "$cache" -maxdepth 1 -name 'initrd-*' -type f -mtime +7 -delete
	mv "$tmp/cpio" "$initrd"
	rm -rf "$tmp"
fi
flock -u 9
exec 9>&-
[ -z "$prepare_only" ] || { printf 'vmtest: kernel %s is in %s\n' "$version" "$cache" >&2; exit 0; }

# ---- /vm: the program, its arguments and files ------------------------------
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vmtest.XXXXXX")
qemu=''
# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || :
	if [ -n "$keep" ]; then printf 'vmtest: kept %s\n' "$scratch" >&2; else rm -rf "$scratch"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
quote() { local s=${1//\'/\'\\\'\'}; printf "'%s' " "$s"; }

mkdir -p "$scratch/vm/bin" "$scratch/vm/out"
prog=$1
shift
[ -f "$prog" ] || die "no such program: $prog"
name=${prog##*/}
cp "$prog" "$scratch/vm/bin/$name"
chmod 755 "$scratch/vm/bin/$name"
for file in "${add[@]}"; do
	src=${file%%:*} dst=${file#*:}
	[ "$dst" != "$file" ] || dst=${src##*/}
	mkdir -p "$scratch/vm/$(dirname "./$dst")"
	cp -a -- "$src" "$scratch/vm/$dst"
done
{
	printf 'exec '
	for word in "/vm/bin/$name" "$@"; do quote "$word"; done
	echo
} >"$scratch/vm/.vmtest"
truncate -s "${size}M" "$scratch/disk"
mkfs.ext4 -q -F -b 4096 -O verity -E root_owner=0:0,lazy_itable_init=1 -d "$scratch/vm" "$scratch/disk" ||
	die "the files do not fit on a disk of $size MiB (-s)"

# ---- boot ------------------------------------------------------------------
# QEMU 7.2 without KVM corrupts a guest now and then: by cmpxchg16b, and with one thread per CPU
# by patched code seen late. One CPU without cx16 and la57 does not (140 boots of 140).
mkfifo "$scratch/out"
timed_out=''

boot() {
	local start=$SECONDS reader
	: >"$scratch/console"
	: >"$scratch/status"
	# Through a fifo: a stdio device counts as unplugged when stdin is at its end, and then the
	# guest's writes block for good.
	cat "$scratch/out" &
	reader=$!
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-machine q35,usb=off,vmport=off,smbus=off,sata=off \
		-accel tcg -cpu max,cx16=off,la57=off -smp 1 -m "$mem" \
		-kernel "$kernel/vmlinuz" -initrd "$initrd" \
		-append 'console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off nokaslr random.trust_cpu=on rdinit=/init' \
		-drive "file=$scratch/disk,if=none,id=d,format=raw,cache=unsafe" -device virtio-blk-pci,drive=d \
		-device virtio-serial-pci \
		-chardev "file,id=out,path=$scratch/out" -device virtserialport,chardev=out,name=out \
		-chardev "file,id=status,path=$scratch/status" -device virtserialport,chardev=status,name=status \
		-serial "file:$scratch/console" "${more[@]}" </dev/null &
	qemu=$!
	while kill -0 "$qemu" 2>/dev/null; do
		# The script is up within seconds; a guest where it is not after 45 hangs.
		if [ $((SECONDS - start)) -ge "$limit" ]; then
			timed_out=1
		elif [ $((SECONDS - start)) -lt 45 ] || grep -q up "$scratch/status"; then
			sleep 0.1
			continue
		fi
		kill -9 "$qemu" 2>/dev/null || :
		break
	done
	wait "$qemu" 2>/dev/null || :
	qemu=''
	wait "$reader" || :
}

# A boot that dies before the program starts is tried again.
for attempt in 1 2 3; do
	boot
	if [ -n "$timed_out" ] || grep -q up "$scratch/status"; then break; fi
	printf 'vmtest: boot %s failed: %s\n' "$attempt" "$(grep -aE 'panic|Oops|BUG' "$scratch/console" | tail -n 1)" >&2
done
[ -z "$verbose" ] || sed 's/^/[console] /' "$scratch/console" >&2
if [ -n "$out" ]; then
	mkdir -p "$out" "$scratch/got"
	debugfs -R "rdump /out $scratch/got" "$scratch/disk" >/dev/null 2>&1 || :
	[ ! -d "$scratch/got/out" ] || cp -a "$scratch/got/out/." "$out/"
fi
rc=$(sed -n 's/^exit //p' "$scratch/status")
if [ -n "$timed_out" ] || [ -z "$rc" ]; then
	[ -n "$verbose" ] || tail -n 40 "$scratch/console" >&2
	[ -z "$timed_out" ] || { printf 'vmtest: no end after %s s\n' "$limit" >&2; exit 124; }
	die 'the guest stopped without reporting a status'
fi
exit "$rc"
