#!/usr/bin/env bash
# Drives the token with PyKCS11, from PyPI by name and version in a virtual environment of its own, and lets OpenSSL judge what was
# signed. Ends with 77 when PyKCS11 cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

version=1.5.20
environment=${BIXI_PYKCS11_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bixi-pykcs11}/$version

skip() {
    echo "pykcs11.sh: SKIPPED, PyKCS11 has not driven the token: $1" >&2
    exit 77
}

if [ ! -e "$environment/.complete" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment" >&2 || skip "no virtual environment can be made (apt-get install python3-venv)"
    timeout 120 "$environment/bin/pip" install --quiet --no-input "pykcs11==$version" >&2 || skip "pip cannot install it"
    touch "$environment/.complete"
fi

require_cargo .
cargo build --quiet --locked -p bixi-hsm-token --lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/token.conf" <<CONF
directory = store
argon2_memory_kib = 64
argon2_passes = 1
log = token.log
allow_import = true
allow_extractable = true
CONF
BIXI_TOKEN_CONF=$work/token.conf "$environment/bin/python" packaging/dev/pykcs11.py \
    "$(target_directory .)/debug/libbixi_token.so" "$work"

openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/sm2.der" -rawin -digest sm3 -pkeyopt distid:1234567812345678 \
    -in "$work/message" -sigfile "$work/sm2.sig"
