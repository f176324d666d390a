#!/bin/bash
# The main job in eight steps, on a private bus and in a temporary directory: nothing of the machine is changed.
# Called by `make demo` after the release build. KEEP=1 keeps the directory.
set -u
export LC_ALL=C
repo=$(cd "$(dirname "$0")/.." && pwd)

# Accounts that every Debian has. No account is created.
viewer=games stranger=nobody administrator=daemon recorder=backup auditor=news

dir=$(mktemp -d /var/tmp/greffier-demo.XXXXXX) || exit 1
bin=$dir/bin log=$dir/log
export GREFFIER_BUS=unix:path=$dir/bus/socket
pids=() good=0 step=0

leave() {
    trap '' INT TERM
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null
        until_true 10 ended "${pids[i]}" || kill -KILL "${pids[i]}" 2>/dev/null
        wait "${pids[i]}" 2>/dev/null
    done
    if [ -n "${KEEP:-}" ]; then echo "Kept: $dir"; else rm -rf "$dir"; fi
}
trap leave EXIT
trap 'exit 130' INT TERM

ended() { ! kill -0 "$1" 2>/dev/null; }

# as USER COMMAND...: the command as that user, without a login.
as() {
    local user=$1
    shift
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --inh-caps=-all -- "$@"
}

# say TEXT: begins a step.   result WORDS: ends it.   differs WHY: ends it otherwise than it must.
say() {
    step=$((step + 1))
    printf '[%d/8] %s … ' "$step" "$1"
}
result() {
    good=$((good + 1))
    echo "$1"
}
differs() {
    echo 'NOT AS EXPECTED'
    printf '      %s\n' "$1"
    [ ! -s "$dir/words" ] || sed 's/^/      it said: /' "$dir/words"
}
note() { printf '      %s\n' "$1"; }

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# What a recorder does: write the file beside, then move it in.
drop() {
    as "$recorder" sh -c "cp '$dir/media/$1' '$dir/spool/$2/.$1' && mv '$dir/spool/$2/.$1' '$dir/spool/$2/$1'"
}
# The spool file disappears only after its sealed copy was read back and its entry is on the disk.
taken() { [ -z "$(find "$dir/spool/$1" -type f 2>/dev/null)" ]; }

# The one recording of a source, as the viewer finds it.
recording_of() {
    as "$viewer" "$bin/greffier-view" --json list --source "$1" --reason "$2" 2>"$dir/words" \
        | sed -n 's/.*"id":"\([a-z2-7]*\)".*/\1/p' | tail -n 1
}

# play USER ID PLAYER...: the exit code is the player's, or 1 when the service refused.
play() {
    local user=$1 id=$2
    shift 2
    as "$user" "$bin/greffier-view" play "$id" --reason incident -- "$@"
}

entries() { as "$auditor" "$bin/greffierctl" --json ledger log --from 0 --count 100000; }

export_ledger() { as "$auditor" "$bin/greffierctl" ledger export "$1" >"$dir/words" 2>&1; }

verify() { "$bin/greffier-verify" ledger "$1" --key "$vkey" >"$dir/words" 2>&1; }

# ---------------------------------------------------------------------------------------------------------------------
# The stage: a copy of the programs where every user may run them, a private bus, a configuration, a policy.

chmod 711 "$dir"
install -d -m 755 "$bin" "$dir/bus" "$dir/media"
install -m 755 "$repo"/target/release/{greffierd,greffierctl,greffier-view,greffier-verify} "$bin/"
install -m 644 "$repo"/tests/media/*.mp4 "$repo"/tests/media/*.wav "$dir/media/"
install -d -m 777 "$dir/exports"

"$bin/greffierctl" init --origin demo.example/greffier --insecure-key-file "$dir/etc/master.key" \
    --config-dir "$dir/etc" --state-dir "$dir/state" --spool-dir "$dir/spool" --run-dir "$dir/run" \
    >"$dir/init" 2>&1 || { cat "$dir/init"; exit 1; }
vkey=$(grep -Eo 'demo\.example/greffier\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+' "$dir/init" | head -n 1)

cat >"$dir/etc/greffier.toml" <<TOML
origin = "demo.example/greffier"
policy = "$dir/etc/policy.toml"
state_dir = "$dir/state"
spool_dir = "$dir/spool"
run_dir = "$dir/run"

[bus]
address = "$GREFFIER_BUS"
polkit = false
allow_switched_user = true        # this script acts as several users

[key]
insecure_key_file = "$dir/etc/master.key"

[limits]
spool_settle_ms = 200
min_free_bytes = 67_108_864
TOML

cat >"$dir/etc/policy.toml" <<TOML
format = 1
controller = "A shop, for this demonstration"

[reasons]
incident = { text = "Theft, damage or assault" }

[purposes]
security = { kinds = ["footage", "call"], reasons = ["incident"] }

[classes]
fortnight    = { max = "P15D", from = "sealed" }
five-seconds = { max = "PT5S", from = "sealed" }

[sources]
entrance  = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight", writer = "$recorder" }
reception = { kind = "call", purposes = ["security"], class = "fortnight", writer = "$recorder" }
doorbell  = { kind = "footage", zone = "entrance", purposes = ["security"], class = "five-seconds", writer = "$recorder" }

[roles]
viewer     = { verbs = ["search", "view"] }
controller = { verbs = ["search", "hold", "lift", "purge"] }
auditor    = { verbs = ["read-ledger"] }
technician = { verbs = ["administer"] }

[grants]
guard-views    = { user = "$viewer", role = "viewer" }
guard-controls = { user = "$viewer", role = "controller" }
audit          = { user = "$auditor", role = "auditor" }
technique      = { user = "$administrator", role = "technician" }
TOML

# Like a system bus: everybody may connect, and only the policy that the package installs says who owns the name.
cat >"$dir/bus/bus.conf" <<XML
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>$GREFFIER_BUS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>$repo/policy/org.greffier.Archive1.conf</include>
</busconfig>
XML

began=$SECONDS
dbus-daemon --config-file="$dir/bus/bus.conf" --nofork --nopidfile >"$dir/bus/log" 2>&1 &
pids+=($!)
until_true 10 test -S "$dir/bus/socket" || { cat "$dir/bus/log"; exit 1; }
"$bin/greffierd" --config "$dir/etc/greffier.toml" >"$log" 2>&1 &
pids+=($!)
answers() { "$bin/greffierctl" status >"$dir/words" 2>&1; }
until_true 20 answers || { cat "$dir/words" "$log"; exit 1; }

echo "A camera and a telephone line are recorded. $viewer may view; $stranger is a stranger; $administrator runs the service."

# ---------------------------------------------------------------------------------------------------------------------
say 'Two recordings arrive in the spool; each is encrypted, entered in the ledger, and only then removed there'
drop entrance.mp4 entrance
drop call.wav reception
footage='' call=''
if until_true 20 taken entrance && until_true 20 taken reception; then
    footage=$(recording_of entrance incident) call=$(recording_of reception incident)
fi
if [ -n "$footage" ] && [ -n "$call" ] && ! grep -rqF ftypisom "$dir/state/objects"; then
    result ok
else
    differs 'two sealed recordings, found by the viewer, and no clear bytes in the archive, were expected'
fi

# ---------------------------------------------------------------------------------------------------------------------
say "$viewer views the footage, for a stated reason, and jumps back and forth in it"
cat >"$dir/bin/player" <<'PLAYER'
#!/bin/bash
# player RECORDING ORIGINAL: the whole, then pieces from the end to the start, all compared byte for byte.
cmp "$1" "$2" || exit 9
blocks=$(($(stat -c %s "$2") / 4096))
for block in "$blocks" $((blocks / 2)) 3 $((blocks - 1)) 0; do
    cmp <(dd if="$1" bs=4096 skip="$block" count=1 status=none) \
        <(dd if="$2" bs=4096 skip="$block" count=1 status=none) || exit 9
done
PLAYER
chmod 755 "$dir/bin/player"
if play "$viewer" "$footage" "$bin/player" {} "$dir/media/entrance.mp4" >"$dir/words" 2>&1; then
    result ok
else
    differs 'every byte was to be as recorded, in any order'
fi

# ---------------------------------------------------------------------------------------------------------------------
# refused USER: the user gets not one byte, and exit code 1.
refused() {
    local status
    as "$1" "$bin/greffier-view" cat "$footage" --reason incident >"$dir/bytes" 2>"$dir/words"
    status=$?
    if [ "$status" -eq 1 ] && [ ! -s "$dir/bytes" ]; then
        result 'refused (as it must be)'
        note "it said: $(head -n 1 "$dir/words")"
    else
        differs "a refusal (exit code 1, no byte) was expected; exit code $status, $(stat -c %s "$dir/bytes") bytes"
    fi
}
say "$stranger, a stranger, asks for the same footage"
refused "$stranger"
say "$administrator, who runs the service, asks for it too"
refused "$administrator"

# ---------------------------------------------------------------------------------------------------------------------
say "$viewer opens the footage and hands the open descriptor to $stranger"
# The player keeps, besides the uid of the viewer, only the power to become somebody else: so the very descriptor
# that the viewer holds is inherited by a process of the stranger. First the viewer reads it: it works.
cat >"$dir/bin/handed-over" <<PLAYER
#!/bin/bash
exec {copy}<&"\${1##*/}" || exit 8
[ "\$(dd bs=4096 count=1 status=none <&"\$copy" | wc -c)" -eq 4096 ] || exit 8
setpriv --reuid=$stranger --regid=$(id -g "$stranger") --clear-groups --inh-caps=-all --ambient-caps=-all -- \
    dd bs=4096 count=1 <&"\$copy" >"\$2" 2>"\$3"
[ \$? -ne 0 ] && exit 7
PLAYER
chmod 755 "$dir/bin/handed-over"
install -m 666 /dev/null "$dir/bytes"
install -m 666 /dev/null "$dir/words"
setpriv --reuid="$viewer" --regid="$(id -g "$viewer")" --init-groups \
    --inh-caps=-all,+setuid,+setgid --ambient-caps=-all,+setuid,+setgid -- \
    "$bin/greffier-view" play "$footage" --reason incident -- "$bin/handed-over" {} "$dir/bytes" "$dir/words"
status=$?
if [ "$status" -eq 7 ] && [ ! -s "$dir/bytes" ] && grep -q 'Permission denied' "$dir/words"; then
    result 'refused (as it must be)'
else
    differs "the viewer was to read and the stranger to get \"Permission denied\"; exit code $status"
fi

# ---------------------------------------------------------------------------------------------------------------------
say 'The ledger has it all: sealed, viewed, refused, and who tried to read what was not his'
entries >"$dir/entries" 2>"$dir/words"
missing=''
has() { grep -q "$2" "$dir/entries" || missing="$missing, $1"; }
has 'the camera footage sealed' "\"event\":\"recording.sealed\".*\"recording\":\"$footage\""
has 'the call sealed' "\"event\":\"recording.sealed\".*\"recording\":\"$call\""
has 'the view granted' "\"event\":\"access.opened\",\"outcome\":\"granted\",\"recording\":\"$footage\""
has 'the end of the view' '"event":"access.closed"'
[ "$(grep -c '"event":"access.opened","outcome":"denied"' "$dir/entries")" -ge 2 ] || missing="$missing, both refusals"
has 'the foreign reader' '"event":"guard.foreign-access"'
if [ -z "$missing" ]; then
    result ok
    note "$(wc -l <"$dir/entries") entries, each chained to the one before it and signed; names are kept apart, encrypted"
else
    differs "missing:${missing#,}"
fi

# ---------------------------------------------------------------------------------------------------------------------
say 'An auditor verifies a copy of the ledger, with nothing but the public key'
if ! export_ledger "$dir/exports/ledger" || ! verify "$dir/exports/ledger"; then
    differs 'a sound ledger was expected'
else
    # In the entry that granted the view: its file, its number, and the place of one letter in it.
    granted='"event":"access.opened","outcome":"granted"'
    number=$(sed -n "s/.*\"seq\":\([0-9]*\),.*$granted.*/\1/p" "$dir/entries" | head -n 1)
    cp -r "$dir/exports/ledger" "$dir/exports/flipped"
    file=$(grep -rlaF "$granted" "$dir/exports/flipped" | head -n 1)
    offset=$(grep -abo "\"seq\":$number,[^{}]*$granted" "$file" | head -n 1 | cut -d: -f1)
    letter=$(dd if="$file" bs=1 skip=$((offset + 2)) count=1 status=none | od -An -tu1)
    # shellcheck disable=SC2059
    printf "\\$(printf '%03o' $((letter ^ 1)))" | dd of="$file" bs=1 seek=$((offset + 2)) conv=notrunc status=none
    verify "$dir/exports/flipped"
    status=$?
    if [ "$status" -eq 1 ] && grep -qiw "entry $number" "$dir/words"; then
        echo sound
        printf '      The same with one single bit flipped … '
        result "damage found: entry $number"
        note "it said: $(grep -iw -m 1 "entry $number" "$dir/words")"
    else
        differs "the copy has one flipped bit in entry $number; exit code $status"
    fi
fi

# ---------------------------------------------------------------------------------------------------------------------
say 'A third recording may be kept five seconds; then its key is destroyed'
drop entrance.mp4 doorbell
doorbell=''
! until_true 20 taken doorbell || doorbell=$(recording_of doorbell incident)
sleep 5
gone() {
    as "$viewer" "$bin/greffierctl" retention run >"$dir/words" 2>&1
    ! as "$viewer" "$bin/greffier-view" show "$doorbell" >"$dir/words" 2>&1
}
if [ -z "$doorbell" ]; then
    differs 'the third recording was not sealed'
elif ! until_true 10 gone; then
    differs 'it was to be gone after five seconds'
elif ! entries 2>"$dir/words" | grep -q "\"event\":\"purge.done\".*\"recording\":\"$doorbell\""; then
    differs 'the ledger has no purge.done for it'
elif [ -n "$(find "$dir/state" -name "$doorbell*")" ]; then
    differs 'its encrypted bytes are still there'
elif ! export_ledger "$dir/exports/after" || ! verify "$dir/exports/after"; then
    differs 'the ledger was to be sound after the purge'
else
    result ok
    note 'the ledger keeps the certificate of destruction, and is still sound'
fi

[ "$good" -eq 8 ] || { echo 'The service said:'; tail -n 20 "$log"; }
echo "demo: $good of 8 as expected, $((SECONDS - began)) s"
[ "$good" -eq 8 ]
