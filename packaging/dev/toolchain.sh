# Sourced by the scripts beside it: finds cargo, and says how to get it when it is missing or too old.
# shellcheck shell=bash

# rustup puts cargo here; a shell that was not started anew after its installation does not know.
cargo_bin="${CARGO_HOME:-$(echo ~)/.cargo}/bin"
if ! command -v cargo >/dev/null && [ -x "$cargo_bin/cargo" ]; then
    PATH="$cargo_bin:$PATH"
    export PATH
fi

# require_cargo ROOT: ends the script unless the cargo that serves ROOT can build it.
require_cargo() {
    local wanted found oldest
    local install="install it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    if ! command -v cargo >/dev/null; then
        echo "$(basename "$0"): cargo is not on PATH; $install" >&2
        exit 1
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1/Cargo.toml")
    if ! found=$(cd "$1" && cargo --version); then
        echo "$(basename "$0"): cargo does not run (its message is above); $install" >&2
        exit 1
    fi
    found=$(echo "$found" | cut -d ' ' -f 2)
    oldest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)
    if [ "$oldest" != "$wanted" ]; then
        echo "$(basename "$0"): cargo is $found, and Bixi needs $wanted or newer; $install" >&2
        exit 1
    fi
}

# target_directory ROOT: where cargo puts what it builds, whatever variable or file says so.
target_directory() {
    (cd "$1" && cargo metadata --locked --no-deps --format-version 1) | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
