#!/usr/bin/env bash
# Measures accel against its peers, with everything the processor has and held to AVX2, and writes RESULTS.md beside this
# file. Arguments go to the bench: --quick, parts of rows' names. BIXI_PROFILE=dev measures the profile of demo and tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
results=benches/accel/RESULTS.md
profile=${BIXI_PROFILE:-bench}
core=$(($(nproc --all) - 1))
run=(taskset -c "$core" cargo bench -q --locked -p bixi-benches --profile "$profile" --bench accel --)

# One run: what it depends on, then its summary, which is Markdown already.
section() {
    local limit=$1 output
    shift
    output=$(BIXI_CPU=$limit "${run[@]}" "$@")
    printf '\n## BIXI_CPU=%s\n\n```\n' "$limit"
    sed '/^$/,$d' <<<"$output"
    printf '```\n\n'
    sed -n '/^| row /,$p' <<<"$output"
}

cargo bench -q --locked -p bixi-benches --profile "$profile" --bench accel --no-run
{
    cat <<EOF
# accel against its peers

$(date -u +%F), commit $(git rev-parse --short HEAD), by \`BIXI_PROFILE=$profile benches/accel/results.sh${*:+ $*}\`. Cycles are of one operation of ours; the best peer
is the one with the shortest time among those that count; \`ours is xN\` is its time over ours, in the same race. See \`../README.md\`.
EOF
    section best "$@"
    section avx2 "$@"
} >"$results.new"
mv "$results.new" "$results"
