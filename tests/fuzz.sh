#!/bin/sh
# Runs each target of fuzz/ for FUZZ_SECONDS. Stable toolchain: RUSTC_BOOTSTRAP lets it take the coverage flags.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
for target in $(cargo fuzz list); do
    echo "fuzz: $target"
    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none "$target" -- -max_total_time="${FUZZ_SECONDS:-60}"
done
