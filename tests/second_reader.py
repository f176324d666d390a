#!/usr/bin/python3
"""A second reader of greffier's ledger, independent of it: Python's standard library and `cryptography`.

Written from man/greffier-ledger.5, whose sections are named below; the list of events is read from that page, which must stand
in ../man. It prints each code of man/greffier-verify.1 that it finds, with the first entry that it is about, and exits with
0 sound, 1 findings, 2 unreadable or wrong usage, 3 sound as far as it goes, but incomplete. Encrypted details are not looked at.

    second_reader.py LEDGER --key FILE [--checkpoint FILE]... [--policy FILE]
    second_reader.py --kit DIR        each example below DIR, compared with its file `expected`
"""

import argparse
import array
import base64
import hashlib
import json
import os
import re
import struct
import sys
from collections import namedtuple
from datetime import datetime, timedelta
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "man", "greffier-ledger.5")
INCOMPLETE = {"bundle-missing", "tile-missing", "epochs-missing", "head-missing", "tail-torn", "quorum-missing"}
SECOND, MINUTES, DAY = 10**6, 60 * 10**6, 86400 * 10**6  # in microseconds
MAX_NOTE, MAX_LINE, MAX_DETAIL, MAX_FRAME_HEAD, MAX_TAIL = 128 << 10, 65535, 2 << 20, 8 << 10, 1 << 30

def require(condition, why):
    """What breaks a rule of the format is a ValueError, as it is for Python's own decoders."""
    if not condition:
        raise ValueError(why)

# ---- ENTRY, prev: base64. TREE: hashes.

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unbase64(text):
    """With padding, unused bits zero: one text for one value."""
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64")
    return data

class Tree:
    """The roots of the complete subtrees, largest first, and the hashes of each level above 0."""

    def __init__(self, size=0, roots=()):
        self.size, self.roots, self.levels = size, list(roots), {}

    def add(self, leaf):
        self.roots.append(leaf)
        self.size += 1
        height = 0
        while self.size >> height & 1 == 0:  # two complete subtrees of this height stand side by side
            right, left = self.roots.pop(), self.roots.pop()
            self.roots.append(sha256(b"\1", left, right))
            height += 1
            if height % 8 == 0:
                self.levels.setdefault(height // 8, []).append(self.roots[-1])

    def root(self, *more):
        """The root over the leaves so far and these."""
        tree = Tree(self.size, self.roots)
        for leaf in more:
            tree.add(leaf)
        root = tree.roots.pop() if tree.roots else sha256()
        while tree.roots:
            root = sha256(b"\1", tree.roots.pop(), root)
        return root

# ---- CHECKPOINT: keys, strict signatures, signed notes

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = {1, P - 1, 0, Y8, P - Y8}  # the y of the points of order 1, 2, 4 and 8
Key = namedtuple("Key", "name id public")
Head = namedtuple("Head", "text lines origin size root")  # lines: name, key id, signature

def strict_point(encoded):
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y < P and y not in SMALL_ORDER

def verifies(public, signature, message):
    point, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or scalar >= ORDER or not strict_point(point) or not strict_point(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False

def read_key(text, kind=1):
    """A verifier key: kind 1 signs, kind 4 cosigns."""
    match = re.fullmatch(r"([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", text)
    require(match, "not a verifier key")
    data = unbase64(match[3])
    key_id = sha256(match[1].encode(), b"\n", data)[:4]
    require(len(data) == 33 and data[0] == kind and key_id.hex() == match[2] and strict_point(data[1:]), "a bad key")
    return Key(match[1], key_id, data[1:])

def read_head(data):
    require(len(data) <= MAX_NOTE and not re.search(rb"[\0-\t\v-\x1f]", data), "not a signed note")
    text, gap, end = data.decode().rpartition("\n\n")
    require(gap and end.endswith("\n") and end.count("\n") <= 64, "not a signed note")
    lines = []
    for line in end[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]{1,255}) ([A-Za-z0-9+/=]{8,})", line)
        require(match, "not a signature line")
        signature = unbase64(match[2])
        lines.append((match[1], signature[:4], signature[4:]))
    match = re.fullmatch("([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]{44})", text)
    require(match and int(match[2]) < 2**53, "not a checkpoint")
    return Head(text + "\n", lines, match[1], int(match[2]), unbase64(match[3]))

def lines_of(head, key):
    return [signature for name, key_id, signature in head.lines if (name, key_id) == (key.name, key.id)]

def signed_by(head, key):
    """A good line of the key, and no bad one."""
    lines = lines_of(head, key)
    return bool(lines) and all(verifies(key.public, line, head.text.encode()) for line in lines)

# ---- COSIGNATURES

def cosigned_by(head, key):
    """None without a line of the witness, else whether all are good."""
    good = []
    for line in lines_of(head, key):
        time = int.from_bytes(line[:8], "big")
        message = f"cosignature/v1\ntime {time}\n{head.text}".encode()
        good.append(time < 2**63 and verifies(key.public, line[8:], message))
    return all(good) if good else None

def read_policy(data):
    """Trust policy: log keys; by name, witness keys and groups as (how many, of whom); the quorum."""
    require(len(data) <= 2 << 20 and data.endswith(b"\n"), "too long, or cut off")
    logs, named, members, quorum = [], {"none": (0, [])}, {"none"}, None
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        words = [word for word in re.split("[ \t]", line) if word]
        kind, name = (words + ["#", ""])[:2]
        if kind == "log":
            logs.append(read_key(name))
        elif kind == "witness":
            require(name not in named and len(words) in (3, 4), line)
            not_checked = unbase64(words[2].split("+", 2)[-1])[:1] == b"\6"  # ML-DSA-44
            named[name] = (1, []) if not_checked else read_key(words[2], 4)
        elif kind == "group":
            of = words[3:]
            require(name not in named and of and set(of) <= named.keys() - members and len(set(of)) == len(of), line)
            named[name] = ({"all": len(of), "any": 1}.get(words[2]) or int(words[2]), of)
            require(1 <= named[name][0] <= len(of) and len(named) < 512, line)
            members.update(of)
        elif not kind.startswith("#"):
            require(kind == "quorum" and quorum is None and name in named and len(words) == 2, line)
            quorum = name
    for keys in logs, [key for key in named.values() if isinstance(key, Key)]:
        require(len({key.public for key in keys}) == len(keys) <= 256, "a key stands there twice, or too many")
    require(quorum is not None, "no quorum")
    return logs, named, quorum

def quorum_met(named, head, name):
    if isinstance(named[name], Key):
        return bool(cosigned_by(head, named[name]))
    need, members = named[name]
    return sum(quorum_met(named, head, member) for member in members) >= need

# ---- ENTRY, EVENTS: each value has a form, here a regular expression for its JSON text

N, TEXT, NAME, ID, DIGEST = "[0-9]+", '(?s:".*")', '"[a-z0-9-]{1,64}"', '"[a-z2-7]{25}[aeimquy4]"', '"[0-9a-f]{64}"'
TIME = r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"'
HASH = '"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="'
COLUMNS = {
    "v": "1", "seq": N, "time": TIME, "boot": '"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', "up": N, "prev": HASH,
    "event": r'"(?=.{1,64}")[a-z-]+\.[a-z-]+"', "outcome": '"(done|granted|denied|failed)"', "recording": ID,
    "source": NAME, "session": ID, "purpose": NAME, "reason": NAME, "policy": DIGEST, "data": ".*", "detail": HASH}
INTEGERS = ("interval_s dropped_bytes turned_away size known_size bundle generation from to count entry old new bytes duration_us"
            " recipients offset recordings keys damaged repaired unread").split()
TIMES = "since start end earliest latest until review due sealed".split()
FORMS = dict.fromkeys(INTEGERS, N) | dict.fromkeys(TIMES, TIME) | {
    "after_crash": "true|false", "details": "true|false", "epochs": "true|false",
    "ranges": rf"\[(\[{N},{N}\],?)*\]", "destroyed": rf"\[(\[{N},{N}\],?)*\]", "kept": rf"\[(\[{N},{N}\],?)*\]",
    "purposes": rf"\[({NAME},?)*\]", "sources": rf"\[({NAME},?)*\]", "class": NAME, "zone": NAME, "hold": ID,
    "sha256": DIGEST, "known_root": HASH, "kind": '"(footage|call|screen)"',
    "spool": rf'\{{"device":{N},"inode":{N},"size_bytes":{N}(,"modified":{TIME})?\}}',
    "hold.placed kind": '"(judicial|incident|request|restriction)"', "access.searched from": TIME, "access.searched to": TIME}

def read_events():
    """The list in the page: name -> (rule of the detail, keys of data)."""
    with open(PAGE, encoding="utf-8") as page:
        section = page.read().replace("\\-", "-").split("\n.SH EVENTS\n")[1].split("\n.SH ")[0]
    events = {}
    for item in section.split("\n.TP\n.B ")[1:]:
        keys = re.search("\nData:\n\\.I (.*)", item)
        rule = re.search("Detail (required|optional|forbidden)\\.", item)
        events[item.split("\n")[0]] = (rule[1], keys[1].split(", ") if keys else [])
    return events

EVENTS = read_events()

def micros(time):
    """Microseconds since 1970; an error for a day that is in no calendar."""
    return (datetime.fromisoformat(time[:-1]) - datetime(1970, 1, 1)) // timedelta(microseconds=1)

def fits(value, form):
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    text.encode()  # half a surrogate pair is no character
    return re.fullmatch(form, text) and (form != TIME or micros(value) is not None)

def integer(text):
    require(text.isdigit() and len(text) <= 16 and int(text) < 2**53, "not a plain integer below 2^53")
    return int(text)

def once(pairs):
    require(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)

def read_entry(line):
    """The columns, and `at`, the time in microseconds; or the code of what is wrong."""
    numbers = {"parse_int": integer, "parse_float": integer, "parse_constant": integer}
    try:
        require(len(line) <= MAX_LINE and not re.search(rb"[\0-\x1f\x7f]", line), "a byte that no entry holds")
        entry = json.loads(line.decode(), object_pairs_hook=once, **numbers)
        needed = list(COLUMNS)[:8]
        require(isinstance(entry, dict), "not an object")
        require(list(entry) == [key for key in COLUMNS if key in entry or key in needed], "the keys, or their order")
        require(all(fits(value, COLUMNS[key]) for key, value in entry.items() if key != "data"), "a value")
        for key in "time", "event":
            require(re.search(f'"{key}" *: *"{re.escape(entry[key])}"'.encode(), line), "written with escapes")
        for key in {"prev", "detail"} & entry.keys():
            entry[key] = unbase64(entry[key])
        return {"data": {}, "detail": None, **entry, "at": micros(entry["time"])}
    except RecursionError:  # only `data` may nest
        return "event-unknown"
    except ValueError:
        return "entry-format"

def event_fits(entry):
    """READING 6."""
    event, data = entry["event"], entry["data"]
    rule, keys = EVENTS.get(event, (None, []))
    if rule not in ("optional", "forbidden" if entry["detail"] is None else "required") or not isinstance(data, dict):
        return False
    if not {key for key in keys if not key.endswith("?")} <= data.keys() <= {key.rstrip("?") for key in keys}:
        return False
    try:
        return all(fits(value, FORMS.get(f"{event} {key}", FORMS.get(key, TEXT))) for key, value in data.items())
    except (ValueError, RecursionError):
        return False

# ---- READING 7: the rules of conduct

ENDS = ["access.closed", "access.revoked", "access.expired", "access.interrupted"]
BEFORE_START = {"ledger.created", "ledger.recovered", "ledger.rekeyed", "ledger.clock-suspect", "ledger.restored"}
OUTCOMES = {event: "done" for event in EVENTS if EVENTS[event][0] == "forbidden"}
OUTCOMES |= dict.fromkeys(["policy.loaded", "recording.sealed", "access.revoked", "access.expired"], "done")
OUTCOMES |= dict.fromkeys(["access.opened", "access.searched", "ledger.read", "ledger.proved"], "granted denied failed")
OUTCOMES |= {"access.closed": "done failed", "access.refused-many": "denied", "guard.foreign-access": "denied",
             "policy.refused": "denied failed"}
NEEDED = dict.fromkeys(["source.registered", "source.changed", "source.retired"], {"source"})
NEEDED |= dict.fromkeys(["hold.placed", "purge.planned", "purge.failed", "purge.done"], {"recording"})
NEEDED |= dict.fromkeys(["access.progress", *ENDS], {"session"})
NEEDED |= {"policy.loaded": {"policy"}, "recording.sealed": {"recording", "source"}, "access.opened": {"recording", "session"}}

class Impossible(Exception):
    """The code of an entry that says what cannot have happened: it changes nothing."""

def deny(broken, code):
    if broken:
        raise Impossible(code)

class Conduct:
    """The archive as the entries so far tell it."""

    def __init__(self, add):
        self.add = add  # takes a code and the entry that it is about
        self.policy = self.policy_entry = None
        self.sources, self.sources_before, self.recordings, self.sessions, self.holds = {}, {}, {}, {}, {}
        self.destroyed = {}  # bundle -> (generation, ranges destroyed, whether details are left)
        self.run = self.interval = self.last = None  # boot of the run of the service, what it announced, (boot, up) of the last entry
        self.started = self.quiet = False
        self.suspect_since, self.suspected, self.trusted, self.now = None, [], None, None

    def rule(self, broken, code):
        if broken:
            self.add(code, self.seq)

    def judge(self, seq, entry):
        event, took, self.seq, self.now = entry["event"], entry["outcome"] in ("done", "granted"), seq, entry["at"]
        self.rule(entry["outcome"] not in OUTCOMES.get(event, entry["outcome"]), "outcome-wrong")
        self.rule(entry.get("policy") != self.policy and not (event == "policy.loaded" and took), "policy-differs")
        self.judge_service(event, entry["data"], entry["boot"], entry["up"], took)
        self.judge_sessions(event, (entry["boot"], entry["up"]), took)
        try:
            deny((event == "ledger.created") != (seq == 0), "event-out-of-place")
            if took or event == "access.closed":
                deny(not NEEDED.get(event, set()) <= entry.keys(), "event-incomplete")
                self.happen(entry, event, entry["data"], entry["at"])
        except Impossible as code:
            self.add(str(code), seq)
        if self.suspect_since is None:
            self.trusted = entry["at"]

    def judge_service(self, event, data, boot, up, took):
        """When it ran: starts, stops, heartbeats. What a start writes before it says so belongs to no run until it does."""
        if event == "ledger.started" and took:
            self.rule(data.get("after_crash", False) != (self.run is not None), "start-untrue")
            self.run, self.interval, self.started, self.quiet = boot, None, True, False
        else:
            if self.interval is not None and self.last[0] == boot == self.run and "since" not in data:
                self.quiet = self.quiet or up - self.last[1] > self.interval + 5 * MINUTES
            if event not in BEFORE_START:
                self.rule(self.quiet, "silence")
                self.quiet = False
            acts = not event.startswith("ledger.") or event in ("ledger.read", "ledger.proved", "ledger.stopped")
            self.rule(acts and self.started and self.run != boot, "start-missing")
        if event == "ledger.stopped" and took:
            self.run = self.interval = None
        if event == "ledger.heartbeat":
            self.interval = data["interval_s"] * SECOND
        self.last = boot, up

    def judge_sessions(self, event, clock, took):
        """A session ends before a stop, and within five minutes after its time or after a start."""
        for session in self.sessions.values():
            if event == "ledger.started" and took:
                self.rule(session.over, "session-not-ended")
                session.over, session.left_over = clock, True
            elif session.until < self.now and not session.over:
                session.over = clock
            late = session.over and session.over[0] == clock[0] and clock[1] - session.over[1] > 5 * MINUTES
            self.rule(late or event == "ledger.stopped" and took, "session-not-ended")

    def described(self, source):
        """Now and before the last change: a file taken under the old policy may be sealed under the new one."""
        return [facts[source] for facts in (self.sources, self.sources_before) if facts.get(source)]

    def holds_on(self, name):
        return [hold for hold in self.holds.values() if hold.recording == name]

    def late(self, recording, at):
        """More than a day after it was due or the last hold ended; time in which the clock was suspect does not count."""
        pauses = self.suspected + ([] if self.suspect_since is None else [(self.suspect_since, at)])
        paused = sum(max(0, min(end, at) - max(begin, recording.due)) for begin, end in pauses)
        return at - recording.due - paused > DAY

    def happen(self, entry, event, data, at):
        rule, name, source, session_id = self.rule, entry.get("recording"), entry.get("source"), entry.get("session")
        recording = self.recordings.get(name)
        if event.startswith("purge.") or event in ("access.opened", "hold.placed"):
            deny(recording is None, "recording-unknown")
        rule(recording and event != "recording.sealed" and source not in (None, recording.source), "subject-differs")
        if event == "policy.loaded":
            self.policy, self.policy_entry = entry["policy"], self.seq
        elif event.startswith("source."):
            known = self.sources.get(source)
            rule(bool(known) == (event == "source.registered"), "source-contradiction")
            self.sources_before[source] = known or self.sources_before.get(source)
            self.sources[source] = data
        elif event == "recording.sealed":
            deny(recording, "recording-twice")
            as_described = [(facts["kind"], facts["class"]) for facts in self.described(source)]
            rule((data["kind"], data["class"]) not in as_described, "source-unregistered")
            earliest, latest = micros(data["earliest"]), micros(data["latest"])
            rule(data["end"] < data["start"] or latest < earliest, "data-implausible")
            self.recordings[name] = SimpleNamespace(
                entry=self.seq, source=source, bytes=data["bytes"], earliest=earliest, due=max(earliest, latest), planned=False,
                certificate=[data["bytes"], data["sha256"], entry["time"], max(earliest, latest), "destroyed", "removed"])

        elif event == "access.opened":
            deny("until" not in data, "event-incomplete")
            deny(session_id in self.sessions, "session-twice")
            rule(self.policy is None, "access-without-policy")
            purposes = [purpose for facts in self.described(recording.source) for purpose in facts["purposes"]]
            rule("reason" not in entry or entry.get("purpose") not in purposes, "access-unfounded")
            rule(recording.planned, "access-during-purge")
            rule(any(hold.kind == "restriction" for hold in self.holds_on(name)), "access-under-restriction")
            until = micros(data["until"])
            rule(until <= at, "data-implausible")
            self.sessions[session_id] = SimpleNamespace(
                entry=self.seq, recording=name, size=recording.bytes, until=until, read=0, over=None, left_over=False)
        elif event in ENDS or event == "access.progress":
            deny(session_id not in self.sessions, "session-without-grant")
            session, end = self.sessions[session_id], 0
            rule(name not in (None, session.recording), "subject-differs")
            for first, behind in data.get("ranges", []):
                rule(not end <= first < behind, "data-implausible")
                end = behind
            rule(end > session.size, "read-past-end")
            if event != "access.interrupted":
                rule(data["bytes"] < session.read, "data-implausible")
                rule(session.left_over, "session-not-ended")
                session.read = data["bytes"]
            if event in ENDS:
                del self.sessions[session_id]

        elif event == "hold.placed":
            deny(recording.planned, "hold-during-purge")
            deny(data["hold"] in self.holds, "hold-unknown")
            self.holds[data["hold"]] = SimpleNamespace(entry=self.seq, recording=name, kind=data["kind"])
        elif event == "hold.lifted":
            deny(data["hold"] not in self.holds, "hold-unknown")
            held = self.holds.pop(data["hold"]).recording
            rule(name not in (None, held), "subject-differs")
            self.recordings[held].due = max(self.recordings[held].due, at)
        elif event == "purge.planned":
            deny(self.holds_on(name), "purge-under-hold")
            rule(self.suspect_since is not None and not recording.planned, "purge-while-suspect")
            recording.planned = True
        elif event == "purge.failed":
            rule(not recording.planned, "purge-without-plan")
            recording.planned = False
        elif event == "purge.done":
            deny(self.holds_on(name), "purge-under-hold")
            deny(not recording.planned, "purge-without-plan")
            rule(at < recording.earliest, "purge-early")
            says = [data["bytes"], data["sha256"], data["sealed"], micros(data["due"]), data["key"], data["object"]]
            rule(says != recording.certificate, "certificate-differs")
            rule(any(session.recording == name for session in self.sessions.values()), "purge-during-session")
            rule(self.late(recording, at), "purged-late")
            del self.recordings[name]

        elif event == "ledger.details-destroyed":
            first, ranges, kept = 256 * data["bundle"], data["destroyed"], data.get("kept", [])
            generation, gone, left = self.destroyed.get(data["bundle"], (0, [], True))
            deny(not ranges or not left or first + 256 > self.seq or data["generation"] != generation + 1, "event-out-of-place")
            for pairs in ranges, kept:
                places = [first, *(place for pair in pairs for place in pair), first + 256]
                deny(places != sorted(places) or any(a == b for a, b in pairs), "event-out-of-place")
            in_use = [self.policy_entry, *(it.entry for it in [*self.holds.values(), *self.sessions.values()])]
            in_use += [place for a, b in kept for place in range(a, b)]
            deny(any(a <= place < b for a, b in gone + ranges for place in in_use if place is not None), "event-out-of-place")
            self.destroyed[data["bundle"]] = (data["generation"], gone + ranges, bool(kept))
        elif event == "ledger.restored":
            deny(data["size"] > self.seq, "event-out-of-place")
        elif event == "ledger.recovered":
            rule(self.suspect_since is None and micros(data.get("since", entry["time"])) > at, "data-implausible")
        elif event == "ledger.clock-suspect" and self.suspect_since is None:
            self.suspect_since = at if self.trusted is None else self.trusted
        elif event == "ledger.clock-confirmed" and self.suspect_since is not None:
            self.suspected.append((self.suspect_since, at))
            self.suspect_since = None

    def finish(self):
        """What should have happened by the time of the last entry."""
        self.rule(self.quiet, "silence")
        for name, recording in self.recordings.items():
            if self.late(recording, self.now) and not self.holds_on(name):
                self.add("purge-late", recording.entry)

# ---- FILES, TAIL, READING 1 to 5: the ledger

def tile_path(level, n, width):
    groups = [f"{n % 1000:03}"]
    while n >= 1000:
        n //= 1000
        groups.insert(0, f"x{n % 1000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_OF_BYTE[(crc ^ byte) & 255] ^ crc >> 8
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")

CRC_OF_BYTE = list(range(256))
for _ in range(8):
    CRC_OF_BYTE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CRC_OF_BYTE]

def frame(tail, number, at):
    """Type, payload and end of the frame at this offset, or None."""
    kind, length = tail[at], int.from_bytes(tail[at + 1 : at + 5], "little")
    end = at + 9 + length
    if length > {1: MAX_LINE, 2: MAX_DETAIL, 3: MAX_FRAME_HEAD}.get(kind, -1) or end > len(tail):
        return None
    good = crc32c(number + at.to_bytes(8, "little") + tail[at : end - 4]) == tail[end - 4 : end]
    return (kind, tail[at + 5 : end - 4], end) if good else None

class Ledger:
    def __init__(self, folder, log_key, pinned, policy):
        self.folder, self.log_key, self.pinned, self.policy = os.path.realpath(folder), log_key, pinned, policy
        self.found = {}  # code -> first entry; None: about none
        self.tree, self.prev, self.clock, self.conduct = Tree(), sha256(), None, Conduct(self.add)
        self.epochs = []  # (the entry that announces it, key)
        self.whole, self.blind = True, False  # every entry is there; one could not be read
        self.details, self.detail, self.missing = None, None, array.array("Q")

    def add(self, code, entry=None):
        before = self.found.setdefault(code, entry)
        if before is not None and (entry is None or entry < before):
            self.found[code] = entry

    def read(self, path, limit):
        """None if it is not there. No link is followed; what is no plain file, or longer than its kind can be, is refused."""
        at = os.path.join(self.folder, path)
        if not os.path.lexists(at):
            return None
        if os.path.realpath(at) != at or not os.path.isfile(at) or os.path.getsize(at) > limit:
            return self.add("file-refused")
        with open(at, "rb") as file:
            return file.read(limit)

    def read_width(self, level, n, width, limit):
        """A bundle or tile; and whether it is the one of this width, in whose place a full one may stand."""
        data = self.read(tile_path(level, n, width), limit)
        if data is None and width < 256:
            return self.read(tile_path(level, n, 256), limit), False
        return data, True

    def tile(self, level, n, width):
        data, exact = self.read_width(level, n, width, 256 * 32)
        if data is None:
            return self.add("tile-missing")
        if len(data) % 32 or len(data) < 32 * width or exact and len(data) > 32 * width:
            return self.add("tile-damaged", None if level else 256 * n)
        return [data[at : at + 32] for at in range(0, 32 * width, 32)]

    def upper_tiles(self, partial):
        for level, hashes in self.tree.levels.items():
            for at in range(0, len(hashes) if partial else len(hashes) // 256 * 256, 256):
                expected = hashes[at : at + 256]
                if self.tile(level, at // 256, len(expected)) not in (None, expected):
                    self.add("tile-damaged")

    def stored(self, size):
        """Line, entry and hash in the tile of each entry in the bundles, None for what is not there, while there are bundles."""
        for n in range((size + 255) // 256):
            width, at = min(256, size - 256 * n), 0
            data, exact = self.read_width("entries", n, width, 256 * (2 + MAX_LINE))
            if data is None:
                return self.add("bundle-missing", 256 * n)
            hashes = self.tile(0, n, width) or [None] * width
            for place in range(width):
                end = at + 2 + int.from_bytes(data[at : at + 2], "big")
                line = data[at + 2 : end] if at + 2 <= len(data) and end <= len(data) else None
                at = len(data) if line is None else end
                yield line, None if line is None else read_entry(line), hashes[place]
            if exact and at < len(data):
                self.add("bundle-damaged", 256 * n + width - 1)

    def read_bundles(self, size, prev_after, root):
        """READING 2: an entry, its hash in the tile, and the prev after it (for the last one the root): two against one."""
        stored = self.stored(size)
        following = next(stored, None)
        while following and self.whole:
            (line, entry, in_tile), following = following, next(stored, None)
            leaf, last = None if line is None else sha256(b"\0", line), self.tree.size + 1 == size
            after = following and following[1]
            vouch = after["prev"] if isinstance(after, dict) else prev_after if last else None
            signed, code = leaf, None
            if leaf is None or in_tile is None and isinstance(entry, str) and vouch not in (None, leaf):
                signed, code = in_tile or vouch, "entry-damaged"
            elif in_tile not in (None, leaf):
                good = vouch == leaf or vouch is None and last and self.tree.root(leaf) == root
                signed, code = (leaf, "tile-damaged") if good else (in_tile, "entry-damaged")
            if code:
                self.add(code, self.tree.size)
            if signed:
                self.take(None if code == "entry-damaged" else entry, signed)
            self.whole = signed is not None
        self.whole = self.whole and self.tree.size == size

    def take(self, entry, signed):
        """READING 3, 5, 6: the next entry, the code of what is wrong with it, or None; and the hash that was signed."""
        seq = self.tree.size
        if isinstance(entry, dict):
            if entry["prev"] != self.prev:
                self.add("chain-broken", seq)
            if entry["seq"] != seq:
                entry = "entry-order"
        if isinstance(entry, dict):
            clock = entry["at"], entry["event"] == "ledger.clock-suspect", entry["boot"], entry["up"]
            at, suspect, boot, up = self.clock or clock
            if clock[0] < at and not suspect and not clock[1] or clock[2] == boot and clock[3] < up:
                self.add("time-falls", seq)
            self.clock = clock
            self.check_detail(seq, entry["detail"])
            if not self.blind and not note_key(self.epochs, self.log_key, seq, entry):
                self.add("key-announcement", seq)
            if not self.blind and event_fits(entry):
                self.conduct.judge(seq, entry)
            elif not self.blind:
                self.add("event-unknown", seq)
        else:
            if entry:
                self.add(entry, seq)
            self.blind, self.clock = True, None
            self.take_detail(seq)
        self.tree.add(signed)
        self.prev = signed
        self.meet_heads([seq + 1])

    # DETAIL

    def clear_details(self):
        """Of each line of details.jsonl, the number (-1 if it has none) and the hash."""
        with open(os.path.join(self.folder, "details.jsonl"), "rb") as file:
            while line := file.readline(MAX_DETAIL):
                number = re.match(rb'\{"seq":([0-9]{1,16}),', line)
                yield int(number[1]) if number else -1, sha256(b"\2", line[:-1]) if line.endswith(b"\n") else b""

    def details_before(self, seq):
        """Those that were not met in their place are out of order, or there twice."""
        while self.detail and self.detail[0] < seq:
            self.add("detail-damaged", max(self.detail[0], 0))
            self.detail = next(self.details, None)

    def take_detail(self, seq):
        self.details_before(seq)
        mine, is_mine = self.detail, self.detail and self.detail[0] == seq
        self.detail = next(self.details, None) if is_mine else self.detail
        return mine[1] if is_mine else None

    def check_detail(self, seq, commitment):
        mine = self.take_detail(seq)
        if self.details and mine is None and commitment:
            self.missing.append(seq)
        elif mine != commitment and self.details:
            self.add("detail-damaged", seq)

    def finish_details(self):
        self.details_before(self.tree.size)
        if self.detail:
            self.add("detail-damaged")
        for seq in [] if self.blind else self.missing:
            gone = self.conduct.destroyed.get(seq // 256, (0, []))[1]
            if not any(first <= seq < end for first, end in gone):
                self.add("detail-missing", seq)

    # CHECKPOINT

    def list_heads(self):
        folder = os.path.join(self.folder, "checkpoints")
        there = os.path.isdir(folder) and os.path.realpath(folder) == folder
        names = os.listdir(folder) if there else []
        self.kept = {int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,15}", name)} if there else None
        self.due = self.kept or set()
        self.due = self.due | {head.size for head in self.pinned}

    def signed(self, head, epochs, log_key_alone=False):
        """By both keys; None: no epoch key is announced. Where entries that announce keys may be unread, by the log key."""
        keys = [key for seq, key in epochs if seq + 1 < head.size or (seq, head.size) == (0, 1)]
        log_key_alone = log_key_alone or self.blind or not self.whole
        if not keys and not log_key_alone:
            return None
        return head.origin == self.log_key.name and all(signed_by(head, key) for key in [self.log_key, *keys[-1:]][: 2 - log_key_alone])

    def meet_heads(self, sizes):
        """READING 4: those brought, and checkpoints/SIZE."""
        for size in self.due.intersection(sizes):
            heads, last = [head for head in self.pinned if head.size == size], max(size - 1, 0)
            beyond = size > self.tree.size
            try:
                heads += [read_head(self.read(f"checkpoints/{size}", MAX_NOTE) or b"")] if size in (self.kept or []) else []
            except ValueError:
                self.add("checkpoint-damaged", last)
            for head in heads:
                if head.size != size or not self.signed(head, self.epochs, beyond):
                    self.add("checkpoint-damaged", last)
                elif beyond:
                    self.add("rollback", self.tree.size)
                elif head.root != self.tree.root():
                    self.add("fork", last)

    def check_closed(self, size):
        for seq, _ in self.epochs:
            if 0 < seq < size - 1 and self.kept is None:
                self.add("epochs-missing")
            elif 0 < seq < size - 1 and seq + 1 not in self.kept:
                self.add("epoch-unclosed", seq)

    def check_policy(self, heads):
        """COSIGNATURES"""
        logs, named, quorum = self.policy
        for head in heads:
            if any(isinstance(key, Key) and cosigned_by(head, key) is False for key in named.values()):
                self.add("cosignature-bad")
            if logs and not any(signed_by(head, key) for key in logs) or not quorum_met(named, head, quorum):
                self.add("quorum-missing")

    def export(self, data):
        try:
            head = read_head(data)
        except ValueError:
            self.whole = False
            return self.add("head-damaged")
        if os.path.lexists(os.path.join(self.folder, "details.jsonl")):
            self.details = self.clear_details()
            self.detail = next(self.details, None)
        self.read_bundles(head.size, None, head.root)
        self.upper_tiles(self.whole)
        signed = self.signed(head, self.epochs)
        if not signed:
            self.add("head-damaged" if signed is None else "head-signature")
        if self.whole and self.tree.root() != head.root:
            self.add("root-differs", max(head.size - 1, 0))
        return head

    # TAIL

    def live(self, tail):
        magic, version, count, length, log_id, number, base, prev = struct.unpack("<8sHHI32s8sQ32s", tail[:96].ljust(96, b"\0"))
        expected = (b"GREFTAIL", 1, 4096, sha256(self.log_key.name.encode(), b"\n\1", self.log_key.public))
        roots, end = [tail[at : at + 32] for at in range(96, 96 + 32 * count, 32)], 96 + 32 * count
        good = (magic, version, length, log_id) == expected and base % 256 == 0 and end <= 4092
        if not good or tail[end:4092].strip(b"\0") or crc32c(tail[:4092]) != tail[4092:4096]:
            self.whole = False
            return self.add("tail-damaged")
        self.read_bundles(base, prev, None)
        self.upper_tiles(False)
        if self.whole and (roots, prev) != (self.tree.roots, self.prev):
            self.add("tail-damaged")
        return self.frames(tail, number) if self.whole and "tail-damaged" not in self.found else None

    def frames(self, tail, number):
        head, at, kept_end, batch = None, 4096, 4096, []  # batch: entry, leaf hash, whether its detail is there
        while at < len(tail) and tail[at] and (found := frame(tail, number, at)):
            (kind, payload, end), place = found, self.tree.size + len(batch)
            if kind == 1:
                entry, prev = read_entry(payload), batch[-1][1] if batch else self.prev
                good = isinstance(entry, dict) and (entry["seq"], entry["prev"]) == (place, prev)
                batch.append([entry, sha256(b"\0", payload), False])
            elif kind == 2:
                good = batch and batch[-1][0]["detail"] and not batch[-1][2]
                batch[-1:] = [[*batch[-1][:2], True]] if good else batch[-1:]
            else:
                good = self.tail_head(payload, batch)
                head, kept_end, batch = good or head, end, []
            if not good:
                self.add("tail-damaged", place - (kind != 1))
                return head
            at = end
        if tail[at:].strip(b"\0") or batch:
            later = self.later_heads(tail, number, at)
            # The exception: sectors that were never written, before the only later head, with nothing behind it.
            sectors = range(at // 512 * 512, later[0][0] // 512 * 512 if later else 0, 512)
            unwritten = any(not tail[max(sector, kept_end) : sector + 512].strip(b"\0") for sector in sectors)
            if later and not (head and unwritten and len(later) == 1 and not tail[later[0][1] :].strip(b"\0")):
                self.add("tail-damaged", self.tree.size + len(batch) - (tail[at] in (2, 3)))
            else:
                self.add("tail-torn", self.tree.size)
        return head

    def tail_head(self, payload, batch):
        """The head of a batch, if it is signed and of these entries; then they count."""
        epochs = list(self.epochs)
        for place, (entry, _, _) in enumerate(batch, self.tree.size):
            note_key(epochs, self.log_key, place, entry)
        try:
            head = read_head(payload)
        except ValueError:
            return None
        size, root = self.tree.size + len(batch), self.tree.root(*(leaf for _, leaf, _ in batch))
        if (head.size, head.root) != (size, root) or not self.signed(head, epochs):
            return None
        for entry, leaf, detail in batch:
            if entry["detail"] and not detail:
                self.missing.append(entry["seq"])
            self.take(entry, leaf)
        return head

    def later_heads(self, tail, number, at):
        """Begin and end of each frame behind the damage that holds a head signed by the log key."""
        heads = []
        while (at := tail.find(self.log_key.name.encode() + b"\n", at + 1)) >= 0:
            found = frame(tail, number, at - 5)
            try:
                if found and found[0] == 3 and signed_by(read_head(found[1]), self.log_key):
                    heads.append((at - 5, found[2]))
            except ValueError:
                pass
        return heads

    def verify(self):
        self.list_heads()
        self.meet_heads([0])
        tail = self.read("tail", MAX_TAIL)
        data = self.read("checkpoint", MAX_NOTE) if tail is None else None
        require(tail is not None or data is not None, "neither a tail nor a checkpoint: it is no ledger")
        head = self.export(data) if tail is None else self.live(tail)
        if head is None:
            self.add("head-missing")
        if self.policy:
            self.check_policy([*self.pinned, head] if head else self.pinned)
        if self.whole and "tail-damaged" not in self.found:
            self.finish_details()
            self.meet_heads([size for size in self.due if size > self.tree.size])
        self.check_closed(head.size if head else self.tree.size)
        if self.conduct.now is not None:
            self.conduct.finish()

def note_key(epochs, log_key, seq, entry):
    """CHECKPOINT: takes in the key that an entry announces; false where it announces one wrongly."""
    event, data = entry["event"], entry["data"]
    if (event == "ledger.created") != (seq == 0):
        return False
    if event not in ("ledger.created", "ledger.rekeyed"):
        return True
    try:
        key, before = read_key(data["epoch_key"]), epochs[-1][1] if epochs else log_key
        require(seq > 0 or (data["origin"], read_key(data["log_key"])) == (log_key.name, log_key), "another log key")
        require(key.name == log_key.name and key.public not in (log_key.public, before.public), "not a new key")
    except (ValueError, KeyError, TypeError):
        return False
    epochs.append((seq, key))
    return True

# ---- The program

def contents(path, limit):
    with open(path, "rb") as file:
        return file.read(limit + 1)

def verify(folder, key, checkpoints, policy):
    """Exit code, and code -> first entry."""
    try:
        log_key = read_key(contents(key, 4096).decode().removesuffix("\n"))
        pinned = [read_head(contents(path, MAX_NOTE)) for path in checkpoints]
        require(all((head.origin, signed_by(head, log_key)) == (log_key.name, True) for head in pinned), "a checkpoint of another key")
        ledger = Ledger(folder, log_key, pinned, read_policy(contents(policy, 2 << 20)) if policy else None)
        ledger.verify()
    except (OSError, ValueError) as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return 2, {}
    return 1 if ledger.found.keys() - INCOMPLETE else 3 if ledger.found else 0, ledger.found

def listed(found):
    return [f"{code} {'-' if entry is None else entry}" for code, entry in sorted(found.items())]

def kit(folder):
    names, failed = sorted(os.listdir(folder)), 0
    for name in names:
        given = {file: os.path.join(folder, name, file) for file in os.listdir(os.path.join(folder, name))}
        pinned = [given["checkpoint.pinned"]] if "checkpoint.pinned" in given else []
        code, found = verify(os.path.join(folder, name), given["vkey"], pinned, given.get("policy"))
        expected = [line for line in contents(given["expected"], 4096).decode().splitlines() if not line.startswith("#")]
        if [f"exit {code}", *listed(found)] != expected:
            failed += 1
            print(f"not ok - {name}: exit {code} {listed(found)} for {expected}")
    print(f"{len(names)} ledgers: {len(names) - failed} agree in exit code, every code and its first entry")
    return 1 if failed or not names else 0

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", nargs="?")
    parser.add_argument("--checkpoint", action="append", default=[])
    for option in "--key", "--policy", "--kit":
        parser.add_argument(option)
    given = parser.parse_args()
    if given.kit:
        return kit(given.kit)
    if not given.ledger or not given.key:
        parser.error("a ledger and its --key, or --kit DIR")
    code, found = verify(given.ledger, given.key, given.checkpoint, given.policy)
    print(*listed(found), ["sound", "not sound", "cannot be read", "sound as far as it goes, but incomplete"][code], sep="\n")
    return code

if __name__ == "__main__":
    sys.exit(main())
