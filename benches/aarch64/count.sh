#!/usr/bin/env bash
# Counts the instructions that the kernels for AArch64 execute per byte, beside those of OpenSSL 3.0, which has SM3 and SM4 in C
# alone there. The count is exact: QEMU runs the program with a plug-in that counts (plugin.rs), once with 10 and once with 30
# repetitions, and the difference is that of 20. Takes its tools from packaging/dev/aarch64.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

. packaging/dev/aarch64.sh tools

plugin=$cache/count/libplugin.so
peer=$cache/count/root/usr/lib/aarch64-linux-gnu/libcrypto.so.3
host_libraries=$cache/count/root/usr/lib/x86_64-linux-gnu

# The emulator that can load plug-ins (Debian's static one cannot), with what it is linked to, and the peer.
prepare() {
    if [ ! -e "$peer" ]; then
        private_apt update
        mkdir -p "$cache/count/debs"
        (cd "$cache/count/debs" && private_apt download qemu-user libcapstone4 libssl3:arm64)
        for deb in "$cache"/count/debs/*.deb; do dpkg-deb -x "$deb" "$cache/count/root"; done
        rm -rf "$cache/count/debs" "$cache/apt"
    fi
    rustc --edition 2024 --crate-type cdylib -C opt-level=2 -o "$plugin" benches/aarch64/plugin.rs
    cross max build --locked -q -p bixi-accel --target $target --example instructions
}

# Instructions of operation $2 on $3 bytes, $4 times, on rung $1.
instructions() {
    BIXI_CPU=$1 BIXI_PEER=$peer LD_LIBRARY_PATH=$host_libraries "$cache/count/root/usr/bin/qemu-aarch64" -L "$cache/root" -cpu max \
        -plugin "$plugin" -d plugin "$program" "$2" "$3" "$4" 2>&1 | sed -n 's/^instructions=//p'
}

# row RUNG OPERATION BYTES [MESSAGES PER CALL]
row() {
    local few many
    few=$(instructions "$1" "$2" "$3" 10)
    many=$(instructions "$1" "$2" "$3" 30)
    awk -v rung="$1" -v operation="$2" -v bytes="$3" -v count=$((many - few)) -v messages="${4:-1}" \
        'BEGIN { printf "%-12s %-9s %6d B %8.2f instructions/B\n", operation, rung, bytes, count / 20 / bytes / messages }'
}

prepare
program=$(target_directory .)/aarch64/$target/debug/examples/instructions
for operation in sm4.ecb sm4.ctr; do
    row best c:$operation 16384
    for rung in portable neon aes sm; do row $rung $operation 16384; done
done
for rung in portable neon aes sm; do row $rung sm4.gcm 16384; done
for bytes in 64 1024; do
    row best c:sm3 $bytes
    for rung in portable neon sm; do row $rung sm3.many $bytes 64; done
done
row best c:sm3 16384
for rung in portable sm; do row $rung sm3 16384; done
