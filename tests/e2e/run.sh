#!/bin/bash
# End to end under a real systemd: a throw-away Debian tree gets the dev build by `make install`, is booted with
# systemd-nspawn, and runs a scenario inside. Then the exported ledger is verified out here.
#
# run.sh [SCENARIO]     another scenario than scenario.sh, for work on this harness
# Prints `ok - …` and `not ok - …`; exit 0 when all is ok. KEEP=1 keeps the tree.
set -u
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
scenario=${1:-$here/scenario.sh}

suite=bookworm
packages=systemd,systemd-sysv,dbus,polkitd,ffmpeg,jq,python3
limit_seconds=${E2E_SECONDS:-300}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/greffier
base=$cache/$suite-$(printf '%s %s' "$suite" "$packages" | sha256sum | cut -c1-12)

root='' container=''
leave() {
    # `timeout` passes it on; the container halts, or is killed by its --kill-after.
    [ -z "$container" ] || { kill "$container" && wait "$container"; } 2>/dev/null
    rm -rf "$base.new.$$"
    if [ -n "$root" ]; then
        if [ -n "${KEEP:-}" ]; then echo "kept: $root"; else rm -rf "$root"; fi
    fi
}
trap leave EXIT
trap 'exit 130' INT TERM

die() {
    echo "not ok - $1"
    exit 1
}

# Made once; a half-made tree never gets the name.
make_base() {
    echo "Making the Debian tree $base (about a minute, 700 MB, once)"
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$base.new.$$" || return
    mv -T "$base.new.$$" "$base" 2>/dev/null || [ -d "$base" ]
}

[ "$(id -u)" -eq 0 ] || die 'end to end needs root'
[ -d "$base" ] || make_base || die 'the Debian tree could not be made'

root=$(mktemp -d "$cache/run.XXXXXX")
chmod 755 "$root"
cp --reflink=auto -a "$base/." "$root/" || die 'the Debian tree could not be copied'
make --silent -C "$repo" install PROFILE=dev DESTDIR="$root" >"$root/install.log" 2>&1 \
    || { cat "$root/install.log"; die 'make install failed'; }

install -d "$root/e2e" "$root/var/log/journal"
install -m 755 "$here"/*.sh "$here"/*.py "$root/e2e/"
install -m 755 "$scenario" "$root/e2e/scenario.sh"
install -m 644 "$repo"/tests/media/*.mp4 "$repo"/tests/media/*.wav "$root/e2e/"
install -D -m 644 "$here/policy.toml" "$root/e2e/policy.toml"
cat >"$root/etc/systemd/system/scenario.service" <<'UNIT'
[Unit]
Description=End-to-end scenario
Wants=dbus.service polkit.service
After=dbus.service
[Service]
Type=oneshot
WorkingDirectory=/e2e
StandardOutput=file:/e2e/output
StandardError=inherit
ExecStart=/bin/sh -c '/e2e/scenario.sh; systemctl exit $?'
UNIT
ln -s ../scenario.service "$root/etc/systemd/system/multi-user.target.wants/scenario.service"

timeout --kill-after=20 "$limit_seconds" systemd-nspawn --quiet --directory="$root" --boot --register=no \
    --keep-unit --private-network --bind=/dev/fuse --capability=CAP_IPC_LOCK --console=pipe </dev/null >"$root/console" 2>&1 &
container=$!
wait "$container"
status=$?
container=''

cat "$root/e2e/output" 2>/dev/null
problem=''
if [ "$status" -ge 124 ]; then
    problem="the scenario did not end within $limit_seconds s"
elif ! grep -q '^scenario: end$' "$root/e2e/output" 2>/dev/null; then
    problem="the scenario did not run to its end (exit $status)"
elif [ "$status" -ne 0 ]; then
    problem="the scenario left with $status"
elif [ -e "$root/e2e/vkey" ]; then
    # The auditor's computer: another machine, nothing but the export and the key.
    if verdict=$("$repo/target/debug/greffier-verify" ledger "$root/e2e/export" --key "$(cat "$root/e2e/vkey")" 2>&1); then
        echo 'ok - outside the container the verifier says sound'
    else
        problem="outside the container the verifier says: $verdict"
    fi
fi

[ -z "$problem" ] && exit 0
echo "not ok - $problem"
echo '--- console'
cat "$root/console"
echo '--- journal of the container'
journalctl --directory="$root/var/log/journal" --no-pager --output=short-precise 2>/dev/null | tail -n 400
exit 1
