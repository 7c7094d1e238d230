#!/usr/bin/env bash
# Builds the plugins that load OpenSSL's engines and providers: libbixi_openssl3.so against the system's libcrypto 3, and
# libbixi_openssl11.so against libcrypto 1.1, from the sources of 1.1.1w that crate openssl-src carries. With --test both run the suite
# of `hsm/openssl`; the gate runs it with libcrypto 3 alone, because libcrypto 1.1 takes 3 to 10 minutes to build, once:
# it is kept in DIR/libcrypto11 (target/openssl-plugins unless named).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

usage="usage: openssl-plugins.sh [--test] [DIR]"
test=false
[ "${1:-}" = --test ] && { test=true; shift; }
[ $# -le 1 ] || { echo "$usage" >&2; exit 2; }
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "${1:-$target/openssl-plugins}"
out=$(cd "${1:-$target/openssl-plugins}" && pwd)
require_cargo .

# Shared, without what neither plugin nor engines use. What runs on a node is the libcrypto.so.1.1 of its own system.
libcrypto11() {
    local prefix=$1 build=$1.build sources
    [ -e "$prefix/lib/libcrypto.so.1.1" ] && return
    sources=$(CARGO_TARGET_DIR=$target/libcrypto11 cargo run --quiet --locked --manifest-path hsm/openssl/libcrypto11/Cargo.toml)
    rm -rf "$build"
    cp -r "$sources" "$build"
    # Chained: errexit does not reach into a list with ||.
    (
        cd "$build" &&
        ./config shared no-tests no-ssl3 no-dtls no-ct no-cms no-ts no-ocsp no-srp no-psk no-idea no-seed no-camellia no-aria \
            no-bf no-cast no-rc2 no-rc5 no-md4 no-mdc2 no-whirlpool no-rmd160 no-gost no-afalgeng --prefix="$prefix" --libdir=lib &&
        make -s build_generated &&
        make -s -j "${CARGO_BUILD_JOBS:-2}" libcrypto.so
    ) >"$build.log" 2>&1 || { echo "openssl-plugins.sh: libcrypto 1.1 was not built; see $build.log" >&2; exit 1; }
    mkdir -p "$prefix/lib"
    cp -r "$build/include" "$prefix/"
    cp -P "$build"/libcrypto.so* "$prefix/lib/"
    rm -rf "$build"
}

# plugin NAME DIRECTORY: builds with the environment's OpenSSL, into a target directory of its own.
plugin() {
    CARGO_TARGET_DIR=$2 cargo build --quiet --locked -p bixi-hsm-openssl-plugin
    cp "$2/debug/libbixi_openssl.so" "$out/$1"
    # One libcrypto and no libssl: the plugin shares the process's libcrypto with the engine and with nothing else.
    readelf -d "$out/$1" | sed -n 's/.*NEEDED.*\[\(lib\(crypto\|ssl\).*\)\]/'"$1"' needs \1/p'
}

start=$SECONDS
plugin libbixi_openssl3.so "$target"
libcrypto11 "$out/libcrypto11"
export LD_LIBRARY_PATH=$out/libcrypto11/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
OPENSSL_DIR=$out/libcrypto11 OPENSSL_LIBS=crypto OPENSSL_STATIC=0 plugin libbixi_openssl11.so "$target/openssl11"
echo "plugins in $out after $((SECONDS - start)) s"
if $test; then
    BIXI_OPENSSL11=$out cargo test --locked -p bixi-hsm-openssl
fi
