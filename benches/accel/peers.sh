#!/usr/bin/env bash
# Fetches the libraries that benches/accel races against: newer Debian builds of OpenSSL, libgcrypt, Intel's
# crypto_mb and ippcp, with the C library that sid's builds ask for. Nothing is installed: packages are unpacked
# below $BIXI_PEERS (default ~/.cache/bixi-peers), where the bench finds them. Needs Debian's apt and dpkg.
set -euo pipefail

root=${BIXI_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bixi-peers}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
declare -A packages=(
    [trixie]="libssl3t64"
    [sid]="libssl3t64 libgcrypt20 libgpg-error0 libcrypto-mb12 libippcp12 libc6 libgcc-s1 zlib1g libzstd1"
)

# An apt of its own for one suite: its own lists, its own cache, none of the machine's sources.
configure() {
    local suite=$1 apt=$root/apt/$1
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc}
    echo "deb [signed-by=$keyring] ${BIXI_DEBIAN:-http://deb.debian.org/debian} $suite main" >"$apt/etc/sources.list"
    cat >"$apt/apt.conf" <<EOF
Dir::State "$apt"; Dir::State::lists "$apt/lists"; Dir::State::status "/dev/null";
Dir::Cache "$apt/cache"; Dir::Etc::SourceList "$apt/etc/sources.list"; Dir::Etc::SourceParts "-";
APT::Sandbox::User "root"; Acquire::Languages "none";
EOF
}

# Downloads and unpacks one package, and prints what it is. A package that cannot be had is said and left out.
fetch() {
    local suite=$1 name=$2
    if ! apt-get -qq download "$name" 2>"$root/apt/error"; then
        echo "$suite $name: absent: $(tail -n 1 "$root/apt/error")"
        return
    fi
    local deb
    deb=$(ls -t "${name}"_*.deb | head -n 1)
    dpkg -x "$deb" "$root/$suite"
    printf '%-7s %-16s %-24s %10s bytes\n' "$suite" "$name" "$(dpkg-deb -f "$deb" Version)" "$(stat -c %s "$deb")"
    rm "$deb"
}

for suite in trixie sid; do
    configure "$suite"
    export APT_CONFIG=$root/apt/$suite/apt.conf
    apt-get -qq update || echo "$suite: lists could not be renewed"
    rm -rf "${root:?}/$suite"
    mkdir -p "$root/$suite"
    cd "$root/apt/$suite/cache"
    for name in ${packages[$suite]}; do fetch "$suite" "$name"; done
done
rm -rf "${root:?}/apt"
du -sh "$root"
