#!/bin/sh
# A long campaign of the consensus simulator: simulate.sh [seeds] [first seed]. Prints totals; a failing seed prints its trace.
set -eu
cd "$(dirname "$0")"
BIXI_SIM_SEEDS="${1:-20000}" BIXI_SIM_FIRST="${2:-1}" exec cargo test -p bixi-consensus --lib no_seed_breaks -- --nocapture
