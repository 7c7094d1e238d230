#!/usr/bin/env bash
# Every check of the project: formatting, lints, dependency rules, tests, documentation. Installs what is missing.
# Prints the minutes of each stage. Stages can be named: ./packaging/dev/test.sh fmt test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/dev/toolchain.sh

stages=(packages fmt deny clippy test clients doc aarch64)
deny_version=0.20.2
summary=()
running=
# Why the running stage tested nothing; it shows among the minutes.
skipped=

# The minutes of every stage, and which one failed, however the script ends.
report() {
    local status=$?
    [ "${#summary[@]}" -eq 0 ] && [ -z "$running" ] && return
    echo "== minutes"
    [ "${#summary[@]}" -eq 0 ] || printf '%s\n' "${summary[@]}"
    [ -z "$running" ] || echo "$running FAILED (status $status); again with: ./packaging/dev/test.sh $running"
}
trap report EXIT

stage() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    running=$name
    skipped=
    "$@"
    running=
    local seconds=$((SECONDS - start))
    summary+=("$(printf '%-8s %3d min %02d s%s' "$name" $((seconds / 60)) $((seconds % 60)) "${skipped:+   SKIPPED: $skipped}")")
}

packages() {
    ./packaging/dev/packages.sh --tests
    if [ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $deny_version" ]; then
        cargo install --locked --quiet cargo-deny@"$deny_version"
    fi
}

tests() {
    # The token module is loaded by path, so it has to be there before the tests that load it.
    cargo build --locked --workspace --bins --lib
    # The first stage installed what tests need: one that is skipped for want of it tests nothing.
    BIXI_REQUIRE_SWTPM=1 cargo test --locked --workspace
}

# or_skip WHAT SCRIPT: a script that ends with 77 cannot have what it needs on this machine, and has said what.
or_skip() {
    local status=0
    "$2" || status=$?
    if [ "$status" -eq 77 ]; then skipped="$1, see above"; else return "$status"; fi
}

# The kernels for AArch64, under an emulator.
aarch64() { or_skip "nothing was tested on AArch64" ./packaging/dev/aarch64.sh; }

# A client of the token that comes from PyPI; those of the distribution are among the tests.
clients() { or_skip "PyKCS11 has not driven the token" ./packaging/dev/pykcs11.sh; }

run() {
    case $1 in
        packages) stage packages packages ;;
        fmt) stage fmt cargo fmt --all --check ;;
        deny) stage deny cargo deny --config .deny.toml check bans licenses sources ;;
        clippy) stage clippy cargo clippy --locked --workspace --all-targets -- -D warnings ;;
        test) stage test tests ;;
        clients) stage clients clients ;;
        doc) RUSTDOCFLAGS="-D warnings" stage doc cargo doc --locked --workspace --no-deps ;;
        aarch64) stage aarch64 aarch64 ;;
    esac
}

[ $# -gt 0 ] || set -- "${stages[@]}"
for name in "$@"; do
    case " ${stages[*]} " in
        *" $name "*) ;;
        *) echo "test.sh: no stage $name; there are: ${stages[*]}" >&2; exit 2 ;;
    esac
done
require_cargo .
for name in "$@"; do run "$name"; done
