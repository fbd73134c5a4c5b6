# shellcheck shell=bash
# private-apt.sh - to be sourced: an apt of its own, with its own lists, cache and idea of what
# is installed, that shares with the machine only the mirror and the archive's keys. Signatures
# are checked; nothing on the host is installed or changed; root is not needed.
#
#   private_apt DIR SUITE   prepare DIR for SUITE, export APT_CONFIG and fetch the lists
#
# The mirror is the first Debian archive of the machine's apt sources, or $DEBIAN_MIRROR.

debian_mirror() {
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		printf '%s\n' "$DEBIAN_MIRROR"
		return
	fi
	local sources=() file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
		[ ! -r "$file" ] || sources+=("$file")
	done
	[ ${#sources[@]} -eq 0 ] || sed -nE \
		-e 's/^URIs: *([^ ]+\/debian\/?)( .*)?$/\1/p' \
		-e 's/^deb( +\[[^]]*\])? +([^ ]+\/debian\/?) .*$/\2/p' \
		"${sources[@]}" | head -n 1
}

private_apt() {
	local dir=$1 suite=$2 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || { echo 'no Debian mirror in the apt sources; set DEBIAN_MIRROR' >&2; return 1; }
	[ -r "$keyring" ] || { echo "no $keyring: install debian-archive-keyring" >&2; return 1; }
	mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial "$dir"/none
	: >"$dir/state/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-CONF
		Dir::State "$dir/state";
		Dir::State::status "$dir/state/status";
		Dir::Cache "$dir/cache";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "$dir/none";
		Dir::Etc::preferencesparts "$dir/none";
		Dir::Etc::trustedparts "$dir/none";
		Dir::Log "$dir";
		Acquire::Languages "none";
		Acquire::Retries "3";
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
	CONF
	export APT_CONFIG=$dir/apt.conf
	apt-get -qq update >&2
}
