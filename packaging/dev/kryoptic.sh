#!/usr/bin/env bash
# Builds Kryoptic, a PKCS#11 software token of others' that tests run the PKCS#11 backend against, and prints the module's path.
# From crates.io by name and version, with the versions of its own Cargo.lock, over the system's OpenSSL and SQLite; a minute or
# two on one core, once. Beside what packages.sh installs it needs the headers of SQLite.
#
#   BIXI_KRYOPTIC_MODULE=$(./packaging/dev/kryoptic.sh) BIXI_REQUIRE_KRYOPTIC=1 cargo test -p bixi-hsm-pkcs11 kryoptic
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

version=1.5.4
cache=${BIXI_KRYOPTIC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bixi-kryoptic}
module=$cache/$version/libkryoptic_pkcs11.so

require_cargo .
if [ ! -e "$module" ]; then
    pkg-config --exists sqlite3 || { echo "kryoptic.sh: the headers of SQLite are missing (apt-get install libsqlite3-dev)" >&2; exit 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # A package that names it: cargo fetches and verifies what it names, and tells where that lies.
    mkdir -p "$work/names/src" "$cache/$version"
    : >"$work/names/src/lib.rs"
    cat >"$work/names/Cargo.toml" <<MANIFEST
[package]
name = "names"
version = "0.0.0"
edition = "2021"
[dependencies]
kryoptic = { version = "=$version", default-features = false }
MANIFEST
    manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/names/Cargo.toml" 2>/dev/null |
        sed -n "s|.*\"manifest_path\":\"\([^\"]*/kryoptic-$version\)/Cargo.toml\".*|\1|p")
    cp -r "$manifest" "$work/kryoptic"
    # Not the repository's settings, and one job: other work goes on beside this.
    CARGO_TARGET_DIR=${BIXI_KRYOPTIC_TARGET:-$cache/target} nice -n 10 cargo build --quiet --locked --jobs 1 --lib \
        --manifest-path "$work/kryoptic/Cargo.toml" --no-default-features --features minimal,kryoptic-lib/dynamic >&2
    cp "${BIXI_KRYOPTIC_TARGET:-$cache/target}/debug/libkryoptic_pkcs11.so" "$module"
fi
echo "$module"
