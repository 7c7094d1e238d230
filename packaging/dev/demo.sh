#!/usr/bin/env bash
# The main job on a fresh machine: installs what is missing, builds, runs `bixi demo` with the arguments given here.
#   ./packaging/dev/demo.sh                      runs until Ctrl-C
#   ./packaging/dev/demo.sh --exit --json        runs the load, prints one JSON object, ends
#   ./packaging/dev/demo.sh --help               what else there is
# A relative --dir starts where you stand. Standard output is the demonstration's alone.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/packaging/dev/toolchain.sh"

require_cargo "$root"
"$root/packaging/dev/packages.sh" >&2
echo "building (the first build compiles RocksDB: about a quarter of an hour on two cores)" >&2
(cd "$root" && cargo build --locked --workspace --bins --lib) >&2
exec "$(target_directory "$root")/debug/bixi" demo "$@"
