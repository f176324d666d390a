#!/bin/sh
# need.sh WHAT command:package...
# Says in one line what WHAT needs from the distribution, and installs the packages whose command is missing. A command written
# module.NAME is a module of the distribution's Python.
set -eu
what=$1
shift

present() {
    case $1 in
        module.*) /usr/bin/python3 -c "import ${1#module.}" 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

all='' missing=''
for pair; do
    all="$all ${pair#*:}"
    present "${pair%%:*}" || missing="$missing ${pair#*:}"
done
if [ -z "$missing" ]; then
    echo "$what needs these packages of the distribution, all present:$all"
else
    echo "$what needs these packages of the distribution:$all; installing now:$missing"
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "$what needs root: it acts as several users, and mounts. Run it as root." >&2
    exit 2
fi
if ! command -v cargo >/dev/null; then
    echo "$what needs a Rust toolchain (cargo), which no package here is installed for. See https://rustup.rs." >&2
    exit 2
fi
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "$what cannot install packages without apt-get. Install by hand:$missing" >&2
    exit 2
fi
log=$(mktemp)
# shellcheck disable=SC2086
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 2
fi
rm -f "$log"
