#!/usr/bin/env bash
# The main job on a fresh machine: installs what is missing, builds, runs `bixi demo` with the arguments given here.
#   ./packaging/dev/demo.sh                      runs until Ctrl-C
#   ./packaging/dev/demo.sh --exit --json        runs the load, prints one JSON object, ends
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v cargo >/dev/null || { echo "demo.sh: cargo is not here; install Rust from your distribution or rustup" >&2; exit 1; }
./packaging/dev/packages.sh >&2
echo "building (the first build compiles RocksDB: ten minutes or more on two cores)" >&2
cargo build --locked --workspace --bins --lib
exec "${CARGO_TARGET_DIR:-target}/debug/bixi" demo "$@"
