#!/bin/bash
# hold.sh RECORDING MARK: a session that stays open. Reads a piece, says so by making MARK, and waits
# until somebody removes it.
head -c 10000 "$1" >/dev/null || exit 1
: >"$2"
while [ -e "$2" ]; do sleep 0.2; done
