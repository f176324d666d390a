#!/bin/sh
# Runs each target of fuzz/ for FUZZ_SECONDS, or FUZZ_RUNS inputs. Stable toolchain: RUSTC_BOOTSTRAP lets it take the coverage
# flags. Begins with the corpus in the tree; what is new goes to fuzz/found/, which is not of the tree.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
limit=-max_total_time=${FUZZ_SECONDS:-60}
[ -z "${FUZZ_RUNS:-}" ] || limit=-runs=$FUZZ_RUNS
RUSTC_BOOTSTRAP=1 cargo fuzz build -s none
for target in ${FUZZ_TARGETS:-$(cargo fuzz list)}; do
    echo "fuzz: $target"
    mkdir -p "fuzz/found/$target" "fuzz/corpus/$target"
    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_len=1024 "$limit" -print_final_stats=1
done
