#!/usr/bin/env bash
# TLS 1.3 with SM algorithms between this project and Tongsuo, both ways, and what must be refused. Builds Tongsuo (minutes).
#   tests/interop/tls.sh            exit status 0 when every line is as it must be
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --quiet --locked -p bixi-network --example tls_peer)
(cd "$root/tests/interop/tongsuo" && CARGO_TARGET_DIR="$target/tongsuo" cargo build --quiet)
ours=$target/debug/examples/tls_peer
theirs=$target/tongsuo/debug/tongsuo-peer

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$ours" make "$work"
for node in a b; do
    openssl pkey -inform DER -in "$work/$node.der" -out "$work/$node.key"
done

failed=0
# check WANTED SERVER-PROGRAM CERTIFICATE KEY CA CLIENT-PROGRAM CERTIFICATE KEY CA: what the client ends with
check() {
    local what=$1 wanted=$2 port ended
    "$3" serve "$4" "$5" "$6" >"$work/server" 2>&1 &
    local server=$!
    for _ in $(seq 100); do
        port=$(head -n 1 "$work/server")
        [ -n "$port" ] && break
        sleep 0.05
    done
    ended=$(timeout 20 "$7" connect "$8" "$9" "${10}" "127.0.0.1:$port" 2>&1 | tail -n 1) || true
    wait "$server" || true
    local served
    served=$(tail -n 1 "$work/server")
    if [[ $ended != $wanted* || $served != $wanted* ]]; then
        failed=1
        printf 'WRONG  '
    else
        printf 'ok     '
    fi
    printf '%-44s client: %s | server: %s\n' "$what" "$ended" "$served"
}

d=$work
check "Tongsuo calls us" agreed "$ours" "$d/a.pem" "$d/a.der" "$d/ca.pem" "$theirs" "$d/b.pem" "$d/b.key" "$d/ca.pem"
check "we call Tongsuo" agreed "$theirs" "$d/a.pem" "$d/a.key" "$d/ca.pem" "$ours" "$d/b.pem" "$d/b.der" "$d/ca.pem"
check "Tongsuo calls us, we trust another CA" refused \
    "$ours" "$d/a.pem" "$d/a.der" "$d/other.pem" "$theirs" "$d/b.pem" "$d/b.key" "$d/ca.pem"
check "we call Tongsuo, it trusts another CA" refused \
    "$theirs" "$d/a.pem" "$d/a.key" "$d/other.pem" "$ours" "$d/b.pem" "$d/b.der" "$d/ca.pem"
check "Tongsuo calls us without a certificate" refused \
    "$ours" "$d/a.pem" "$d/a.der" "$d/ca.pem" "$theirs" - - "$d/ca.pem"
export INTEROP_TLS_ID=1234567812345678
check "Tongsuo calls us, we sign with a wrong ID" refused \
    "$ours" "$d/a.pem" "$d/a.der" "$d/ca.pem" "$theirs" "$d/b.pem" "$d/b.key" "$d/ca.pem"
check "we call Tongsuo, we sign with a wrong ID" refused \
    "$theirs" "$d/a.pem" "$d/a.key" "$d/ca.pem" "$ours" "$d/b.pem" "$d/b.der" "$d/ca.pem"
unset INTEROP_TLS_ID
export INTEROP_SUITE=TLS_AES_128_GCM_SHA256
check "Tongsuo calls us with AES only" refused \
    "$ours" "$d/a.pem" "$d/a.der" "$d/ca.pem" "$theirs" "$d/b.pem" "$d/b.key" "$d/ca.pem"
check "we call Tongsuo, which has AES only" refused \
    "$theirs" "$d/a.pem" "$d/a.key" "$d/ca.pem" "$ours" "$d/b.pem" "$d/b.der" "$d/ca.pem"
exit "$failed"
