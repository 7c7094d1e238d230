#!/usr/bin/env bash
# Every check of the project: formatting, lints, dependency rules, tests, documentation. Installs what is missing.
# Prints the minutes of each stage. Stages can be named: ./packaging/dev/test.sh fmt test
set -euo pipefail
cd "$(dirname "$0")/../.."

deny_version=0.20.2
summary=()

stage() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    "$@"
    local seconds=$((SECONDS - start))
    summary+=("$(printf '%-8s %3d min %02d s' "$name" $((seconds / 60)) $((seconds % 60)))")
}

packages() {
    ./packaging/dev/packages.sh --tests
    if ! cargo deny --version 2>/dev/null | grep -q "$deny_version"; then
        cargo install --locked --quiet cargo-deny@"$deny_version"
    fi
}

tests() {
    # The token module is loaded by path, so it has to be there before the tests that load it.
    cargo build --locked --workspace --bins --lib
    cargo test --locked --workspace
}

run() {
    case $1 in
        packages) stage packages packages ;;
        fmt) stage fmt cargo fmt --all --check ;;
        deny) stage deny cargo deny --config .deny.toml check bans licenses sources ;;
        clippy) stage clippy cargo clippy --locked --workspace --all-targets -- -D warnings ;;
        test) stage test tests ;;
        doc) RUSTDOCFLAGS="-D warnings" stage doc cargo doc --locked --workspace --no-deps ;;
        *) echo "test.sh: no stage $1; there are: packages fmt deny clippy test doc" >&2; exit 2 ;;
    esac
}

[ $# -gt 0 ] || set -- packages fmt deny clippy test doc
for name in "$@"; do run "$name"; done

echo "== minutes"
printf '%s\n' "${summary[@]}"
