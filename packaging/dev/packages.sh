#!/usr/bin/env bash
# Installs the system packages a build needs (and, with --tests, what the tests need), if any is missing.
# Debian and its relatives by apt, RPM systems by dnf. Needs root, or sudo; neither is asked for when nothing is missing.
set -euo pipefail

usage="usage: packages.sh [--tests]"
again="$0 $*"
tests=false
case "$#:${1:-}" in
    0:) ;;
    1:--tests) tests=true ;;
    *) echo "$usage" >&2; exit 2 ;;
esac

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else
        echo "packages.sh: this needs root, and there is no sudo; run this as root, then start again: $again" >&2
        exit 1
    fi
}

if command -v apt-get >/dev/null; then
    wanted=(clang libclang-dev cmake g++ libhwloc-dev libudev-dev libssl-dev pkg-config protobuf-compiler)
    $tests && wanted+=(openssl opensc softhsm2 swtpm p11-kit p11-kit-modules groff-base gdb)
    # An engine and a provider to load; Debian 13 has it no more.
    $tests && apt-cache show libengine-gost-openssl >/dev/null 2>&1 && wanted+=(libengine-gost-openssl)
    missing=()
    for package in "${wanted[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && exit 0
    echo "installing: ${missing[*]}"
    # A repository of somebody else's that does not answer is no reason to stop: the installation says what is missing.
    as_root apt-get update -q || echo "packages.sh: apt-get update failed; going on with the lists that are there" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
elif command -v dnf >/dev/null; then
    wanted=(clang clang-devel cmake gcc-c++ hwloc-devel systemd-devel openssl-devel pkgconf-pkg-config protobuf-compiler)
    $tests && wanted+=(openssl opensc softhsm swtpm p11-kit p11-kit-server groff-base gdb)
    missing=()
    for package in "${wanted[@]}"; do
        rpm -q --quiet "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && exit 0
    echo "installing: ${missing[*]}"
    as_root dnf install -y "${missing[@]}"
else
    echo "packages.sh: neither apt-get nor dnf is here; install by hand: clang, libclang, cmake, a C++20 compiler," >&2
    echo "  the headers of hwloc, udev and OpenSSL, pkg-config and protoc; then build with cargo (see demo.sh)" >&2
    exit 1
fi
