#!/bin/bash
# Runs inside the container, as root, started by PID 1. Prints `ok - …` or `not ok - …` for each point; exit 0 when all
# is ok. Leaves the verifier key in /e2e/vkey and the exported ledger in /e2e/export for the auditor outside.
set -u
export LC_ALL=C
# $words is what the last point printed; $said is for what a point reads.
failures=0 words=/tmp/words said=/tmp/said

ok() { echo "ok - $1"; }
not_ok() {
    failures=$((failures + 1))
    echo "not ok - $1"
    sed 's/^/    /' "$words" 2>/dev/null
}
# point TEXT COMMAND...: ok when the command succeeds.
point() {
    local text=$1
    shift
    if "$@" >"$words" 2>&1; then ok "$text"; else not_ok "$text"; fi
}
# refused TEXT COMMAND...: ok when the command says no (exit code 1) and gives no byte.
refused() {
    local text=$1 status
    shift
    "$@" >/tmp/bytes 2>"$words"
    status=$?
    if [ "$status" -eq 1 ] && [ ! -s /tmp/bytes ]; then ok "$text"; else
        echo "exit code $status, $(stat -c %s /tmp/bytes) bytes" >>"$words"
        not_ok "$text"
    fi
}
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}
as() {
    local user=$1
    shift
    runuser -u "$user" -- "$@"
}
property() { busctl --json=short get-property org.greffier.Archive1 /org/greffier/Archive1 "org.greffier.Archive1.$1" "$2" | jq -r .data; }
state_is() { [ "$(property Manager State)" = "$1" ]; }
entries() { as dpo greffierctl --json ledger log --from 0 --count 1000000; }
# entry JQ-CONDITION: some entry is like that.
entry() { entries | jq -se "any(.[]; $1)"; }
id_of() { as viewer greffier-view --json list --source "$1" --reason "$2" | jq -r .id | tail -n 1; }
taken() { [ -z "$(find "/var/spool/greffier/$1" -type f)" ]; }

# ---------------------------------------------------------------------------------------------------------------------
# Accounts, and a new archive.
for user in viewer careful stranger itservice recorder dpo; do useradd --create-home "$user"; done

greffierctl init --origin e2e.example/greffier >/tmp/init 2>&1
cp /tmp/init "$words"
vkey=$(grep -Eo 'e2e\.example/greffier\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+' /tmp/init | head -n 1)
echo "$vkey" >/e2e/vkey
point 'init makes the archive and prints the line for the auditor' \
    grep -q 'Keep this line outside this machine' /tmp/init
point 'the master key is an encrypted credential, and no plain file' \
    sh -c 'test -s /etc/credstore.encrypted/greffier.master && ! grep -q "^insecure_key_file" /etc/greffier/greffier.toml'
fingerprint() { find /etc/greffier /etc/credstore.encrypted /var/lib/greffier -type f -exec sha256sum {} + | sort; }
fingerprint >/tmp/before
greffierctl init --origin other.example/greffier >"$words" 2>&1
second=$?
fingerprint >/tmp/after
point 'a second init changes nothing and exits 1' sh -c "[ $second -eq 1 ] && cmp /tmp/before /tmp/after"

# ---------------------------------------------------------------------------------------------------------------------
# The service, first without a policy.
mv /etc/greffier/policy.toml /tmp/policy.toml.init
point 'systemctl start greffierd' systemctl start greffierd
main_pid() { systemctl show -P MainPID greffierd; }
status_of() { sed -n "s/^$1:\t//p" "/proc/$(main_pid)/status"; }
# The six powers of the unit, CAP_IPC_LOCK among them (run.sh lets the container have it).
point 'hardened: no new privileges, system calls filtered, few powers' \
    test "$(status_of NoNewPrivs) $(status_of Seccomp) $(status_of CapBnd)" = '1 2 0000000010284005'
point 'without a policy it runs, degraded' until_true 10 state_is degraded
property Manager Why >"$said"
point 'and says what to edit, and which command checks it' grep '/etc/greffier/policy.toml.*greffierctl policy check' "$said"

cp /e2e/policy.toml /etc/greffier/policy.toml
point 'policy check finds nothing wrong' greffierctl policy check
spool_made() { [ "$(stat -c %a:%G /var/spool/greffier/entrance)" = 1730:recorder ]; }
systemctl reload greffierd
point 'systemctl reload greffierd brings it into force: each source has its spool folder' until_true 10 spool_made
point 'now it is ready' until_true 10 state_is ready

# ---------------------------------------------------------------------------------------------------------------------
# A recorder leaves an MP4 and a WAV.
as recorder cp /e2e/entrance.mp4 /var/spool/greffier/entrance/2026-05-12.mp4
as recorder sh -c 'cp /e2e/call.wav /var/spool/greffier/reception/.part && mv /var/spool/greffier/reception/.part /var/spool/greffier/reception/call.wav'
point 'the MP4 is taken from the spool' until_true 30 taken entrance
point 'the WAV is taken from the spool' until_true 30 taken reception
footage=$(id_of entrance incident) call=$(id_of reception caller-dispute)
point 'both are found by the viewer' sh -c "[ ${#footage} -eq 26 ] && [ ${#call} -eq 26 ]"
point 'no clear byte is left in the archive' sh -c '! grep -rqaE "ftypisom|WAVEfmt" /var/lib/greffier /var/spool/greffier'

# ---------------------------------------------------------------------------------------------------------------------
# Who may, and who may not.
play() { as viewer greffier-view play "$footage" --reason incident -- "$@"; }
point 'the viewer plays the MP4 with ffmpeg and ffprobe, with seeking' play /e2e/player.sh {} /e2e/entrance.mp4
point 'the viewer hears the call, with a case reference' sh -c \
    "runuser -u viewer -- greffier-view cat $call --reason caller-dispute --case D-17 | cmp - /e2e/call.wav"
refused 'the viewer is refused without the case reference' \
    as viewer greffier-view cat "$call" --reason caller-dispute
refused 'the stranger is refused' as stranger greffier-view cat "$footage" --reason incident
refused 'the administrator is refused' as itservice greffier-view cat "$footage" --reason incident
refused 'root is refused' greffier-view cat "$footage" --reason incident
# denied USER: an entry says that this user was refused this recording; who it was stands in its detail.
denied() {
    rm -rf /tmp/audit
    install -d -o dpo -m 700 /tmp/audit
    as dpo greffierctl ledger export --with-details /tmp/audit/ledger
    entries >/tmp/audit/entries
    jq -se --argjson uid "$(id -u "$1")" --slurpfile detail /tmp/audit/ledger/details.jsonl \
        'any(.[]; . as $entry | .event == "access.opened" and .outcome == "denied" and (.policy | length) == 64
            and any($detail[]; .seq == $entry.seq and .who.uid == $uid and (.rule | length) > 0))' /tmp/audit/entries
}
for user in viewer stranger itservice root; do
    point "the refusal of $user stands in the ledger, with the policy in force and the rule" denied "$user"
done

uids='--reuid=viewer --regid=viewer --init-groups'
powers='--inh-caps=-all,+setuid,+setgid --ambient-caps=-all,+setuid,+setgid'
# shellcheck disable=SC2086
setpriv $uids $powers -- greffier-view play "$footage" --reason incident -- /e2e/foreign.py {} stranger >"$said" 2>&1
foreign=$?
point 'another user gets nothing from the descriptor: read, mmap, sendfile, splice' sh -c "cat $said; [ $foreign -eq 0 ]"
sed 's/^/    /' "$said"
point 'and the attempt stands in the ledger' entry '.event == "guard.foreign-access"'

# ---------------------------------------------------------------------------------------------------------------------
# Authenticating again, with the polkitd of the distribution and its agent for terminals.
echo 'careful:correct horse' | chpasswd
# on_terminal PASSWORD: careful opens the footage on a terminal and types that; the footage goes to /tmp/shown.
on_terminal() {
    rm -f /tmp/shown
    /e2e/password.py "$1" env LANG="${2:-C}" runuser -u careful -- sh -c "greffier-view cat $footage --reason incident >/tmp/shown"
}
point 'polkit knows the actions' sh -c 'pkaction | grep -c "^org.greffier.archive." | grep -qx 13'
point 'on a terminal, the right password opens' on_terminal 'correct horse'
cp "$words" "$said"
point 'all of it' cmp /tmp/shown /e2e/entrance.mp4
point 'the terminal showed recording, source and reason' grep "view recording $footage of entrance for the reason incident" "$said"
point 'in French for who speaks it' on_terminal 'correct horse' fr_FR.UTF-8
cp "$words" "$said"
point 'recording and reason too' grep "consulter l’enregistrement $footage de entrance, motif incident" "$said"
not_again() { on_terminal "$1" && return 1; [ ! -s /tmp/shown ]; }
point 'a wrong password opens nothing' not_again 'wrong horse'
cp "$words" "$said"
point 'and says what to do' grep 'builtin.reauth.*your own password.*Recorded as entry' "$said"
refused 'without a terminal nobody can ask' as careful greffier-view cat "$footage" --reason incident
as careful greffier-view cat "$footage" --reason incident >/dev/null 2>"$said"
point 'and it says where to do it' grep 'builtin.reauth.*on a terminal' "$said"
systemctl mask --quiet --now polkit.service
point 'with polkitd stopped, it fails closed' not_again 'correct horse'
cp "$words" "$said"
point 'and says so' grep 'builtin.reauth.*polkit cannot be asked' "$said"
point 'the state is degraded' until_true 10 state_is degraded
point 'who need not authenticate again is served as ever' play /e2e/player.sh {} /e2e/entrance.mp4
systemctl unmask --quiet polkit.service
systemctl start polkit.service
point 'with polkitd back, it opens again' on_terminal 'correct horse'
point 'and is ready' until_true 10 state_is ready
denied_again() { denied careful && jq -se '[.[].rule] | index("builtin.reauth")' /tmp/audit/ledger/details.jsonl; }
point 'the refusals stand in the ledger, with the rule' denied_again

# ---------------------------------------------------------------------------------------------------------------------
# The service dies in the middle of a session, and stops in the middle of another.
# open_session: leaves the job in $viewing and the id of the session in $session.
open_session() {
    rm -f /tmp/mark
    play /e2e/hold.sh {} /tmp/mark >/tmp/session 2>&1 &
    viewing=$!
    until_true 10 test -e /tmp/mark || cp /tmp/session "$words"
    session=$(entries | jq -rs '[.[] | select(.event == "access.opened" and .outcome == "granted")][-1].session')
}
close_session() {
    rm -f /tmp/mark
    wait "$viewing"
}

open_session
killed=$(main_pid)
systemctl kill -s KILL greffierd
restarted() { pid=$(main_pid) && [ "$pid" -ne 0 ] && [ "$pid" -ne "$killed" ] && state_is ready; }
point 'killed in the middle of a session, it comes back by itself' until_true 30 restarted
close_session
point 'and wrote access.interrupted for that session' \
    entry ".event == \"access.interrupted\" and .session == \"$session\""

open_session
point 'systemctl restart in the middle of a session' systemctl restart greffierd
point 'it is ready again' until_true 30 state_is ready
close_session
point 'and wrote access.closed with why "service-stopped"' \
    entry ".event == \"access.closed\" and .session == \"$session\" and .data.why == \"service-stopped\""
point 'the recordings are still there' play /e2e/player.sh {} /e2e/entrance.mp4

# ---------------------------------------------------------------------------------------------------------------------
# The master key: backed up to shares, tried, changed under the unit's own restrictions, lost and put back.
store=/etc/credstore.encrypted
keys=/home/itservice/keys.age
generation() { find /var/lib/greffier/keys -name '*.a' -printf '%f\n'; }
point 'the administrator has the key sealed for three persons, two of whom can open it' \
    as itservice greffierctl keys backup --shares 2/3 --output $keys
point 'the backup tells nothing without them' sh -c "head -n 1 $keys | grep -q age-encryption.org/v1"
point 'a drill opens it with two shares while the service runs' \
    as itservice greffierctl keys restore $keys --share $keys.share-1 --share $keys.share-3 --check
as itservice greffierctl keys restore $keys --share $keys.share-2 --check >"$said" 2>&1
point 'one share says what is missing' grep 'number 1, 3 is missing' "$said"
sha256sum $store/greffier.master >/tmp/credential
refused 'the viewer cannot change the master key' as viewer greffierctl keys rotate
point 'the administrator changes the master key' as itservice greffierctl keys rotate --ground 'A clerk left'
point 'the credential is another one, alone, and so are the key files' \
    sh -c "! sha256sum --check --status /tmp/credential && [ ! -e $store/greffier.master.next ] && [ \"$(generation)\" = 2.a ]"
point 'the recordings are still there' play /e2e/player.sh {} /e2e/entrance.mp4
point 'the service starts with the new credential' systemctl restart greffierd
point 'and is ready' until_true 30 state_is ready
point 'and the recordings are still there after it' play /e2e/player.sh {} /e2e/entrance.mp4
as itservice greffierctl keys restore $keys --share $keys.share-1 --share $keys.share-2 --check >"$said" 2>&1
point 'the old backup is of no use any more' grep 'does not hold the master key in force' "$said"
point 'order, end, backup and drills stand in the ledger' bash -c "$(declare -f as entries); entries | jq -se '
    [.[] | select(.event | startswith(\"key.\")) | .event + \" \" + .outcome] == [\"key.backed-up done\", \"key.backup-checked done\",
    \"key.rotation-ordered denied\", \"key.rotation-ordered done\", \"key.rotated done\", \"key.backup-checked failed\"]'"
point 'a new backup is made' as itservice greffierctl keys backup --shares 2/2 --output $keys.2
systemctl stop greffierd
rm $store/greffier.master
point 'without its credential the service does not start' sh -c '! systemctl start greffierd'
systemctl stop greffierd
refused 'the backup of before does not open the key files' \
    greffierctl keys restore $keys --share $keys.share-1 --share $keys.share-2
point 'the new one puts the master key back' \
    greffierctl keys restore $keys.2 --share $keys.2.share-1 --share $keys.2.share-2
systemctl reset-failed greffierd
point 'and the service starts' systemctl start greffierd
point 'and is ready, and has written key.restored' bash -c "$(declare -f as entries entry until_true state_is property)
    until_true 30 state_is ready && entry '.event == \"key.restored\"'"
point 'the recordings are back' play /e2e/player.sh {} /e2e/entrance.mp4

# ---------------------------------------------------------------------------------------------------------------------
# The journal, the bus, the export.
# The ids stand in src/shell/message_id.rs.
journal() { journalctl -u greffierd --output=json "MESSAGE_ID=$1"; }
point 'the journal has the start of the service as a structured message' \
    sh -c "journalctl -u greffierd --output=json MESSAGE_ID=bf3f02a2d3225aab6556a834150626c9 | jq -se 'length >= 3'"
journal 55c4af546aeba65524f5f2a4427e4303 >"$said"
point 'and a sealed recording, with recording, source and entry as fields' jq -se \
    "any(.[]; .RECORDING == \"$footage\" and .SOURCE == \"entrance\" and (.ENTRY | tonumber) > 0)" "$said"
journal 1c285e76bdc5d8ef771b71362b2c3da4 >"$said"
point 'and the refusals with their entries, without a name in them' \
    sh -c "jq -se 'length >= 4 and all(.[]; (.ENTRY | tonumber) > 0)' $said && ! grep -E 'stranger|itservice' $said"
point 'journalctl -x explains them' sh -c 'journalctl --update-catalog; journalctl -x -u greffierd | grep -q "The archive serves"'
as stranger busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus RequestName su \
    org.greffier.Archive1 0 >"$said" 2>&1
point 'a user cannot own the name on the bus' grep 'Access denied' "$said"
point 'the verifier key on the bus is the line that init printed' test "$(property Ledger VerifierKey)" = "$vkey"

# ---------------------------------------------------------------------------------------------------------------------
# The ledger for everybody: the publisher, and the client of witnesses, each in its own unit.
point 'systemd finds nothing wrong with the units' systemd-analyze verify --man=no --recursive-errors=no \
    greffierd.service greffier-publish.service greffier-publish.timer greffier-witness.service greffier-witness.timer \
    greffier-cosigned.service
point 'the accounts of publisher and witness client are made' \
    sh -c 'systemd-sysusers && id greffier-publish && id greffier-witness'
public=/var/lib/greffier-publish/ledger
systemctl start greffier-publish.service >"$said" 2>&1
point 'without a grant nothing is published' sh -c "systemctl is-failed greffier-publish.service; [ ! -e $public/checkpoint ]"
cat >>/etc/greffier/policy.toml <<'POLICY'
publishing        = { user = "greffier-publish", role = "auditor" }
POLICY
systemctl reload greffierd
until_true 10 state_is ready
published() { systemctl start greffier-publish.service || { journalctl -u greffier-publish --no-pager; false; }; }
point 'with one, the unit publishes the ledger' published
point 'and once more' published
point 'which anybody can read and verify' as stranger greffier-verify ledger $public --key "$vkey"
# Nobody is there, on a machine without a network: the client says so, and can do nothing else.
printf 'log %s\nwitness w %s http://127.0.0.1:9\nquorum w\n' "$vkey" \
    'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2' >/etc/greffier/trust-policy
systemctl start greffier-witness.service >/dev/null 2>&1
journalctl -u greffier-witness --no-pager >"$said" 2>&1
point 'the witness unit reads trust policy and tiles, and says that nobody is there' \
    grep 'No witness could be reached' "$said"

install -d -o dpo -m 700 /e2e/out
point 'the auditor exports the ledger, with the details' \
    as dpo greffierctl ledger export --with-details /e2e/out/ledger
mv /e2e/out/ledger /e2e/export

echo 'scenario: end'
[ "$failures" -eq 0 ]
