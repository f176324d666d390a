#!/bin/bash
# All stages of `make check`, in order. A stage that fails does not stop the later ones; the summary names it.
set -u
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

passed=0 failed=0 summary=''

# stage NAME COMMAND...: shows what the command prints, and keeps it in $log.
stage() {
    local name=$1 began=$SECONDS status
    shift
    log=$work/log
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        name="$name: FAILED"
    fi
    summary+=$(printf '%5d s  %s' $((SECONDS - began)) "$name")$'\n'
}

# Adds the tests that the last stage ran to the counts. A broken build counts none: the stage itself has failed.
add_cargo_tests() {
    local ok bad
    while read -r ok bad; do
        passed=$((passed + ok)) failed=$((failed + bad))
    done < <(sed -n 's/^test result: [^.]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log")
}

add_tap_lines() {
    passed=$((passed + $(grep -c '^ok - ' "$log"))) failed=$((failed + $(grep -c '^not ok - ' "$log")))
}

# The auditor's program must build without the bus, the asynchronous runtime, the database, FUSE and the AEAD library.
verifier_alone() {
    local crates banned
    cargo build --locked --no-default-features --bin greffier-verify || return
    crates=$(cargo tree --locked --no-default-features --edges normal --prefix none --format '{p}') || return
    banned=$(grep -E '^(tokio|zbus|sled|fuser|aws-lc|ring|aes|chacha20|inotify|nix)[a-z0-9_-]* ' <<<"$crates" | sort -u)
    if [ -n "$banned" ]; then
        printf 'greffier-verify must not need these:\n%s\n' "$banned"
        return 1
    fi
    target/debug/greffier-verify --version
}

stage 'format' cargo fmt --all --check
stage 'lints' cargo clippy --locked --all-targets -- -D warnings
stage 'tests' cargo test --locked --no-fail-fast
add_cargo_tests
stage 'second reader' /usr/bin/python3 tests/second_reader.py --kit tests/vectors/ledger
RUSTDOCFLAGS='-D warnings' stage 'documentation' cargo doc --locked --no-deps
stage 'verifier alone' verifier_alone
stage 'end to end' tests/e2e/run.sh
add_tap_lines

printf '\n%s' "$summary"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
