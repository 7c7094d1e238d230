#!/usr/bin/env bash
# Runs pkcs11-check, a conformance client from PyPI that wants a newer Python than Debian 12 has, on the token, in a Debian 13 made by
# mmdebstrap. Not part of the gate: the first run fetches some 200 MB, `full` takes some minutes.
#
#   ./packaging/dev/pkcs11-check.sh smoke      the client's smoke tests
#   ./packaging/dev/pkcs11-check.sh full       every test that needs no vectors fetched from elsewhere, slow ones excepted
#
# Other arguments go to `pkcs11-check test` as they are. Needs root (chroot, device nodes), mmdebstrap and opensc. The chroot is kept as
# an archive in ~/.cache/bixi-pkcs11-check, beside the last run's log; everything else is in a temporary directory and removed.
# The token is built here: what it is linked to must not be newer than Debian 13's glibc 2.41.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

suite=trixie
version=0.2.3
cache=${BIXI_PKCS11_CHECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bixi-pkcs11-check}
mirror=${BIXI_DEBIAN_MIRROR:-http://deb.debian.org/debian}
archive=$cache/$suite-$version.tar
so_pin=12345678 user_pin=123456

case ${1:-} in
    smoke) arguments=(--marker smoke --isolation none) ;;
    full) arguments=(--skip-slow --isolation none --timeout 60) ;;
    "") echo "usage: pkcs11-check.sh smoke | full | arguments of pkcs11-check test" >&2; exit 2 ;;
    *) arguments=("$@") ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "pkcs11-check.sh: run this as root: it makes a chroot" >&2; exit 1; }
for program in mmdebstrap pkcs11-tool; do
    command -v "$program" >/dev/null || { echo "pkcs11-check.sh: install mmdebstrap and opensc" >&2; exit 1; }
done
require_cargo .

root=$(mktemp -d)
trap 'umount -q "$root/proc" || true; rm -rf --one-file-system "$root"' EXIT
mkdir -p "$cache"

if [ ! -e "$archive" ]; then
    mmdebstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" "$mirror"
    # Names and certificates as this machine has them, for pip.
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    chroot "$root" python3 -m venv /venv
    chroot "$root" /venv/bin/pip install --quiet --no-input "pkcs11-check==$version"
    tar -C "$root" --exclude=./dev --exclude=./proc --exclude=./sys -cf "$archive.new" .
    mv "$archive.new" "$archive"
    rm -rf --one-file-system "${root:?}"/*
fi

tar -C "$root" -xf "$archive"
mkdir -p "$root/dev/shm" "$root/proc" "$root/bixi"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
# Where the client looks how much memory it uses.
mount -t proc proc "$root/proc"

cargo build --quiet --locked -p bixi-hsm-token --lib
cp "$(target_directory .)/debug/libbixi_token.so" "$root/bixi/"
# The client makes keys of every kind, and enters wrong PINs on purpose.
cat >"$root/bixi/token.conf" <<CONF
directory = store
argon2_memory_kib = 64
argon2_passes = 1
pin_attempts_max = 100
allow_import = true
allow_extractable = true
log = token.log
CONF
token() { BIXI_TOKEN_CONF=$root/bixi/token.conf pkcs11-tool --module "$root/bixi/libbixi_token.so" "$@" >/dev/null; }
token --init-token --slot 0 --label check --so-pin "$so_pin"
token --login --login-type so --so-pin "$so_pin" --init-pin --pin "$user_pin"

chroot "$root" env BIXI_TOKEN_CONF=/bixi/token.conf P11TEST_PIN="$user_pin" P11TEST_SO_PIN="$so_pin" HOME=/bixi COLUMNS=150 \
    sh -c 'cd /bixi && exec /venv/bin/pkcs11-check test --module /bixi/libbixi_token.so "$@"' sh "${arguments[@]}" |
    tee "$cache/last.log"
