#!/usr/bin/env bash
# Runs the tests of `accel` on AArch64: cross-builds them and runs them under QEMU on models of three kinds of processor, so that
# every rung of the ladder is climbed and no instruction is used that a processor lacks.
#
#   max          has everything, the SM3 and SM4 instructions too
#   neoverse-n1  AES and PMULL without those, as Kunpeng 920
#   cortex-a72   Armv8.0 with AES; what has none is the rung `neon`, which every model climbs
#
# And this machine's own build on three processors older than any that tests run on: Nehalem (x86-64-v2), Westmere (with AES and
# carry-less multiplication), Haswell (AVX2, without ADX).
#
# Beside cargo and clang, all it needs comes from Debian by name, verified by apt, into ~/.cache/bixi-aarch64; nothing is installed.
# A standard library of rustup's, where there is one (rustup target add aarch64-unknown-linux-gnu), is taken instead of Debian's.
# Ends with 77 when the packages cannot be had. Steps can be named: ./packaging/dev/aarch64.sh tools build run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

target=aarch64-unknown-linux-gnu
models=(max neoverse-n1 cortex-a72)
older=(Nehalem Westmere Haswell)
suite=bookworm
mirror=${BIXI_DEBIAN_MIRROR:-http://deb.debian.org}
cache=${BIXI_AARCH64_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bixi-aarch64}
# What programs are linked with, and what runs them; then Debian's newest Rust, for this machine and for AArch64.
packages=(libc6:arm64 libc6-dev:arm64 libgcc-s1:arm64 libgcc-12-dev:arm64 qemu-user-static)
rust=(rustc-web libstd-rust-web-1.96 libllvm22 libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64)

skip() {
    echo "aarch64.sh: SKIPPED, nothing was tested on AArch64: $1" >&2
    exit 77
}

# Whether rustup's toolchain has the standard library.
has_std() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; }

# apt with lists, cache and configuration of its own, for both architectures; needs no root.
private_apt() {
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$cache"/apt/{lists,archives}/partial
    : >"$cache/apt/status"
    cat >"$cache/apt/debian.sources" <<SOURCES
Types: deb
URIs: $mirror/debian
Suites: $suite
Components: main
Signed-By: $keys

Types: deb
URIs: $mirror/debian-security
Suites: $suite-security
Components: main
Signed-By: $keys
SOURCES
    apt-get -q -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
        -o Dir::State="$cache/apt" -o Dir::State::Lists="$cache/apt/lists" -o Dir::State::status="$cache/apt/status" \
        -o Dir::Cache="$cache/apt" -o Dir::Etc::SourceList="$cache/apt/debian.sources" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

tools() {
    local wanted=("${packages[@]}") stamp=$cache/root/.packages-2
    has_std || wanted+=("${rust[@]}")
    [ "$(cat "$stamp" 2>/dev/null)" = "${wanted[*]}" ] && return
    [ "$(uname -m)" = x86_64 ] || skip "only x86-64 machines cross-build"
    command -v clang >/dev/null || skip "clang, which links, is not on PATH"
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "no apt to fetch Debian's packages with"
    echo "fetching into $cache: ${wanted[*]}"
    private_apt update || skip "no package lists from $mirror"
    rm -rf "$cache/debs" "$cache/root"
    mkdir -p "$cache/debs" "$cache/root"
    (cd "$cache/debs" && private_apt download "${wanted[@]}") || skip "$mirror lacks one of: ${wanted[*]}"
    local deb
    for deb in "$cache"/debs/*.deb; do
        case ${deb##*/} in
            # Thirty emulators, of which two are wanted.
            qemu-user-static_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$cache/root" ./usr/bin/qemu-{aarch64,x86_64}-static ;;
            *) dpkg-deb -x "$deb" "$cache/root" ;;
        esac
    done
    rm -rf "$cache/debs" "$cache/apt"
    echo "${wanted[*]}" >"$stamp"
}

# A compiler and a linker for cargo: Debian's rustc with its libraries, and clang with the linker of rustup's toolchain.
wrappers() {
    local linker
    linker=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld
    mkdir -p "$cache/bin"
    # By its name, rustc takes it for a C compiler that links.
    cat >"$cache/bin/aarch64-gcc" <<WRAPPER
#!/bin/sh
exec clang --target=aarch64-linux-gnu --sysroot="$cache/root" --ld-path="$linker" "\$@"
WRAPPER
    cat >"$cache/bin/rustc" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH="$cache/root/usr/lib/x86_64-linux-gnu:$cache/root/usr/lib/llvm-22/lib"
exec "$cache/root/usr/bin/rustc" "\$@"
WRAPPER
    chmod +x "$cache/bin/aarch64-gcc" "$cache/bin/rustc"
}

# cargo for AArch64, its programs run by the emulator as the processor $1. A directory of its own, because its compiler may be another.
cross() {
    local emulator="$cache/root/usr/bin/qemu-aarch64-static -L $cache/root -cpu $1"
    shift
    # shellcheck disable=SC2030
    (
        has_std || export RUSTC="$cache/bin/rustc"
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$cache/bin/aarch64-gcc"
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator"
        # Tests that start themselves again do it by the emulator, too.
        export BIXI_ACCEL_EMULATOR="$emulator"
        CARGO_TARGET_DIR="$(target_directory .)/aarch64" cargo "$@"
    )
}

# cargo for this machine, its programs run by the emulator as the processor $1.
on_older() {
    local emulator="$cache/root/usr/bin/qemu-x86_64-static -cpu $1"
    shift
    # shellcheck disable=SC2030
    (
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$emulator" BIXI_ACCEL_EMULATOR="$emulator"
        cargo "$@"
    )
}

build() {
    cross max test --locked -p bixi-accel --target $target --lib --test ladder --test vectors --no-run
}

run() {
    local model
    for model in "${models[@]}"; do
        echo "-- $model: every rung, published vectors"
        cross "$model" test --locked -q -p bixi-accel --target $target --test ladder --test vectors
    done
    for model in "${older[@]}"; do
        echo "-- $model: every rung, published vectors"
        on_older "$model" test --locked -q -p bixi-accel --test ladder --test vectors
    done
    # The model that has every kernel. SM2 is the code that the native tests test.
    echo "-- max: every kernel against portable"
    cross max test --locked -q -p bixi-accel --target $target --lib -- cpu:: ct:: selftest:: sm3:: sm4:: transpose::
}

[ $# -gt 0 ] || set -- tools build run
require_cargo .
for step in "$@"; do
    case $step in
        tools) tools; wrappers ;;
        build | run) "$step" ;;
        *) echo "aarch64.sh: no step $step; there are: tools build run" >&2; exit 2 ;;
    esac
done
