#!/usr/bin/python3
"""A second reader of the ledger, independent of greffier: standard library and `cryptography`.

Written from man/greffier-ledger.5 alone; the list of events is read from that page. Simple rather than fast, and it says less
about where the damage is; but it must call sound what is sound, and unsound what is not.

    second_reader.py DIR            the findings of one directory of tests/vectors/ledger, and exit 0, 1, 2 or 3
    second_reader.py --kit DIR      every directory below DIR, compared with its file `expected`
"""

import base64
import hashlib
import json
import os
import re
import sys
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "man", "greffier-ledger.5")
INCOMPLETE = {"bundle-missing", "tile-missing", "epochs-missing", "head-missing", "tail-torn", "quorum-missing"}
DAY = timedelta(days=1)
# Public keys of small order, for which anybody can sign (the sign bit left out).
P = 2**255 - 19
Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303021
SMALL_ORDER = {0, 1, Y8, P - Y8, P - 1, P, P + 1}


class Wrong(Exception):
    """Bytes that are not what the page says."""


def require(condition, why):
    if not condition:
        raise Wrong(why)


# --- hashes, keys, notes -------------------------------------------------------------------------------------------


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(line):
    return sha256(b"\0", line)


def root_of(hashes):
    """RFC 6962: the left tree is the largest power of two below the size."""
    if not hashes:
        return sha256(b"")
    level = list(hashes)
    while len(level) > 1:
        pairs = [sha256(b"\1", a, b) for a, b in zip(level[::2], level[1::2])]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def unbase64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Wrong("not base64") from error
    require(base64.b64encode(raw).decode() == text, "not the one form of its base64")
    return raw


def hash_of_text(text):
    raw = unbase64(text)
    require(len(raw) == 32, "not the base64 of 32 bytes")
    return raw


def check_name(name):
    require(1 <= len(name.encode()) <= 255 and "+" not in name, "not a name")
    require(not any(c.isspace() or ord(c) < 32 or 127 <= ord(c) < 160 for c in name), "not a name")


class Key:
    """A verifier key: name+id+base64(type, public key)."""

    def __init__(self, text, kind=1):
        parts = text.split("+", 2)
        require(len(parts) == 3, "not a verifier key")
        self.name, key_id, key = parts
        check_name(self.name)
        raw = unbase64(key)
        require(len(raw) == 33 and raw[0] == kind, "not a key of this type")
        self.public = raw[1:]
        self.id = sha256(self.name.encode(), b"\n", raw)[:4]
        require(self.id.hex() == key_id, "the id is not that of the key")
        require(int.from_bytes(self.public, "little") % 2**255 not in SMALL_ORDER, "a weak key")
        self.text = text

    def verifies(self, message, signature):
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        # The other form of a signature, s + L, is not the signature.
        order = 2**252 + 27742317777372353535851937790883648493
        return int.from_bytes(signature[32:], "little") < order


class Note:
    """A signed note: a text, and lines that sign it."""

    def __init__(self, raw):
        require(len(raw) <= 128 * 1024, "too long")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise Wrong("not text") from error
        require(not any(ord(c) < 32 and c != "\n" for c in text), "control characters")
        body, found, lines = text.rpartition("\n\n")
        require(found and lines.endswith("\n"), "not a signed note")
        self.text = (body + "\n").encode()
        self.lines = []
        for line in lines[:-1].split("\n"):
            match = re.fullmatch("\u2014 ([^ ]+) ([^ ]+)", line)
            require(match, "not a signature line")
            check_name(match[1])
            signature = unbase64(match[2])
            require(len(signature) > 4, "an empty signature")
            self.lines.append((match[1], signature[:4], signature[4:]))
        require(len(self.lines) <= 64, "too many signature lines")
        parts = body.split("\n")
        require(len(parts) == 3, "a checkpoint has three lines")
        check_name(parts[0])
        require(re.fullmatch("0|[1-9][0-9]*", parts[1]) and int(parts[1]) < 2**53, "not a size")
        self.origin, self.size, self.root = parts[0], int(parts[1]), hash_of_text(parts[2])

    def signed_by(self, key):
        """At least one line of the key, and every one under its name and id good."""
        mine = [s for name, key_id, s in self.lines if (name, key_id) == (key.name, key.id)]
        return bool(mine) and all(len(s) == 64 and key.verifies(self.text, s) for s in mine)

    def signed_by_both(self, log_key, epoch_key):
        return (
            self.origin == log_key.name
            and epoch_key is not None
            and epoch_key.public != log_key.public
            and self.signed_by(log_key)
            and self.signed_by(epoch_key)
        )

    def cosigned_by(self, key):
        """tlog-cosignature/v1: eight bytes of time before the signature, which is over two lines and the text."""
        for name, key_id, signature in self.lines:
            if (name, key_id) != (key.name, key.id):
                continue
            if len(signature) != 72:
                return False
            when = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {when}\n".encode() + self.text
            return when < 2**63 and key.verifies(message, signature[8:])
        return None


# --- entries -------------------------------------------------------------------------------------------------------

TOKEN = r"[a-z0-9-]{1,64}"
ID = r"[a-z2-7]{25}[aeimquy4]"
BOOT = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
KEYS = "v seq time boot up prev event outcome recording source session purpose reason policy data detail".split()
PATTERNS = {
    "boot": BOOT,
    "event": r"(?=.{3,64}$)[a-z-]+\.[a-z-]+",
    "outcome": "done|granted|denied|failed",
    "recording": ID,
    "session": ID,
    "source": TOKEN,
    "purpose": TOKEN,
    "reason": TOKEN,
    "policy": "[0-9a-f]{64}",
}


def strict_json(raw):
    def pairs(items):
        keys = [key for key, _ in items]
        require(len(set(keys)) == len(keys), "a key twice")
        return dict(items)

    def refuse(word):
        raise Wrong(f"{word} is no JSON")

    try:
        return json.loads(raw.decode(), object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Wrong("not JSON") from error


def whole(value):
    return type(value) is int and 0 <= value < 2**53


def time_of(text):
    require(isinstance(text, str) and re.fullmatch(TIME, text), "not a time")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError as error:
        raise Wrong("not a time") from error


class Entry:
    """One entry; what its data means is another matter."""

    def __init__(self, line):
        require(len(line) <= 65535, "too long")
        require(not any(b < 32 or b == 127 for b in line), "not one line")
        data = re.search(rb'"data":(\{.*\})(?:,"detail":"[^"]*")?\}$', line)
        nested = data is not None and max_depth(data[1]) > 100
        # A reader need not go as deep as a hostile entry does.
        shallow = line.replace(data[1], b'{"":0}') if nested else line
        value = strict_json(shallow)
        require(isinstance(value, dict), "not an object")
        places = [KEYS.index(key) if key in KEYS else -1 for key in value]
        require(-1 not in places and places == sorted(places), "a key unknown or out of order")
        require(all(key in value for key in KEYS[:8]), "a key is missing")
        require(type(value["v"]) is int and value["v"] == 1, "not version 1")
        require(whole(value["seq"]) and whole(value["up"]), "not a number below 2^53")
        for key, pattern in PATTERNS.items():
            if key in value:
                good = isinstance(value[key], str) and re.fullmatch(pattern, value[key])
                require(good, f"{key} is not what it must be")
        require(b'"%s"' % value["event"].encode() in line, "an escape in the event")
        require("data" not in value or isinstance(value["data"], dict), "data is not an object")
        self.seq, self.up, self.boot, self.event = value["seq"], value["up"], value["boot"], value["event"]
        self.time = time_of(value["time"])
        self.prev = hash_of_text(value["prev"])
        self.outcome = value["outcome"]
        self.data = value.get("data", {})
        self.detail = hash_of_text(value["detail"]) if "detail" in value else None
        for key in ("recording", "source", "session", "purpose", "reason", "policy"):
            setattr(self, key, value.get(key))

    @property
    def done(self):
        return self.outcome in ("done", "granted")


def max_depth(raw):
    depth = deepest = 0
    for byte in raw:
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    return deepest


def events_of_the_page():
    """{name: (rule for the detail, keys that must be there, keys that may)}, from the section EVENTS."""
    with open(PAGE, encoding="utf-8") as page:
        text = page.read().split("\n.SH EVENTS\n")[1].split("\n.SH ")[0].replace("\\-", "-")
    events = {}
    for block in text.split("\n.TP\n.B ")[1:]:
        name = block.split("\n")[0]
        rule = re.search(r"Detail (required|optional|forbidden)\.", block)
        data = re.search(r"^Data:\n\.I (.*)", block, re.M)
        if rule:
            keys = data[1].split(", ") if data else []
            may = {key[:-1] for key in keys if key.endswith("?")}
            events[name] = (rule[1], {key for key in keys if not key.endswith("?")}, may)
    return events


STRINGS = "origin log_key epoch_key version why kind zone class sha256 media what mode hold key object".split()
NUMBERS = "dropped_bytes turned_away from count bytes duration_us interval_s bundle generation".split()
LISTS = "purposes sources ranges destroyed".split()


def check_data(entry, events):
    require(entry.event in events, "an event that is not in the list")
    rule, must, may = events[entry.event]
    keys = set(entry.data)
    require(must <= keys and keys <= must | may, "data has other keys")
    for key, value in entry.data.items():
        counted = entry.event.startswith("mandate.") and key == "version"
        require(key not in STRINGS or counted or isinstance(value, str), f"{key} is no text")
        require(not counted or whole(value), f"{key} is no number")
        number = key in NUMBERS and not (key == "from" and isinstance(value, str))
        require(not number or whole(value), f"{key} is no number")
        require(key not in LISTS or isinstance(value, list), f"{key} is no list")
        day = entry.event.startswith(("grant.", "mandate.")) and key in ("from", "until")
        require(not day or re.fullmatch(r"\d{4}-\d\d-\d\d", value), f"{key} is no day")
        times = ("start", "end", "earliest", "latest", "sealed", "due", "until", "review", "since", "expires")
        if key in times and not day:
            time_of(value)
    require(rule != "required" or entry.detail is not None, "it must have a detail")
    require(rule != "forbidden" or entry.detail is None, "it may have no detail")


# --- the rules of conduct ------------------------------------------------------------------------------------------


class Conduct:
    """What the entries say so far, and what may follow."""

    def __init__(self, found):
        self.found = found
        self.recordings, self.sessions, self.holds, self.sources = {}, {}, {}, {}
        self.policy = None
        self.foreign = False
        self.suspect = False
        self.run = None
        self.started = False
        self.start_missing = False
        self.interval = None
        self.before = None
        self.destroyed = []

    def judge(self, e):
        add = lambda code: self.found.add((code, e.seq))
        self.judge_run(e, add)
        self.judge_policy(e, add)
        self.judge_sessions(e, add)
        self.judge_outcome(e, add)
        if e.event == "access.closed" or e.done:
            act = getattr(self, "on_" + re.sub("[.-]", "_", e.event), None)
            if act:
                act(e, add)
        self.before = e

    def judge_outcome(self, e, add):
        granted = {"access.opened", "access.searched", "ledger.read", "ledger.proved"}
        granted |= {"grant.given", "approval.given", "register.read"}
        denied = {"policy.refused", "access.refused-many", "guard.foreign-access"}
        if e.event in granted and e.outcome == "done" or e.event not in granted and e.outcome == "granted":
            add("outcome-wrong")
        if e.event in denied and e.outcome == "done":
            add("outcome-wrong")
        only_done = ("recording.sealed", "purge.done", "purge.failed", "access.progress", "policy.loaded", "access.revoked")
        if (e.event.startswith("source.") or e.event in only_done) and e.outcome != "done":
            add("outcome-wrong")

    def judge_run(self, e, add):
        if e.event == "ledger.started":
            if (self.run is not None) != bool(e.data.get("after_crash")):
                add("start-untrue")
            self.run, self.started, self.start_missing, self.interval = e.boot, True, False, None
            return
        before = self.before
        if self.interval and before and self.run == e.boot == before.boot:
            recovered = e.event == "ledger.recovered" and "since" in e.data
            if e.up - before.up > (self.interval + 300) * 1_000_000 and not recovered:
                add("silence")
        act = not e.event.startswith("ledger.") or e.event in ("ledger.read", "ledger.proved", "ledger.stopped")
        if act and self.started and self.run != e.boot and not self.start_missing:
            self.start_missing = True
            add("start-missing")
        if e.event == "ledger.stopped":
            self.run = self.interval = None
            self.start_missing = False
        if e.event == "ledger.heartbeat":
            self.interval = e.data["interval_s"]

    def judge_policy(self, e, add):
        if e.event == "policy.loaded" and e.done:
            self.policy = e.policy
        foreign = e.policy != self.policy
        if foreign and not self.foreign:
            add("policy-differs")
        self.foreign = foreign

    def judge_sessions(self, e, add):
        for session in self.sessions.values():
            if session["told"]:
                continue
            if e.event == "ledger.stopped":
                session["told"] = True
                add("session-not-ended")
            if e.event == "ledger.started" or session["until"] < e.time:
                since = session.setdefault("over", (e.boot, e.up))
                if since[0] == e.boot and e.up - since[1] > 300_000_000:
                    session["told"] = True
                    add("session-not-ended")

    def recording(self, e, add):
        if e.recording is None:
            return add("event-incomplete")
        if e.recording not in self.recordings:
            return add("recording-unknown")
        recording = self.recordings[e.recording]
        if e.source is not None and e.source != recording["source"]:
            add("subject-differs")
        return recording

    def on_ledger_clock_suspect(self, e, add):
        self.suspect = True

    def on_ledger_clock_confirmed(self, e, add):
        self.suspect = False

    def on_ledger_details_destroyed(self, e, add):
        first = e.data["bundle"] * 256
        ranges = e.data["destroyed"]
        for a, b in ranges:
            self.destroyed.append((a, b))
        ranges = ranges + e.data.get("kept", [])
        if not e.data["destroyed"] or first + 256 > e.seq:
            add("event-out-of-place")
        elif any(not first <= a < b <= first + 256 for a, b in ranges):
            add("event-out-of-place")

    def on_source_registered(self, e, add):
        if e.source is None:
            return add("event-incomplete")
        if e.event == "source.registered" and e.source in self.sources:
            add("source-contradiction")
        if e.event == "source.changed" and e.source not in self.sources:
            add("source-contradiction")
        self.sources[e.source] = e.data

    on_source_changed = on_source_registered

    def on_source_retired(self, e, add):
        if self.sources.pop(e.source, None) is None:
            add("source-contradiction")

    def on_recording_sealed(self, e, add):
        if e.recording is None or e.source is None:
            return add("event-incomplete")
        if e.recording in self.recordings:
            return add("recording-twice")
        declared = self.sources.get(e.source)
        if declared is None or (declared["kind"], declared["class"]) != (e.data["kind"], e.data["class"]):
            add("source-unregistered")
        earliest, latest = time_of(e.data["earliest"]), time_of(e.data["latest"])
        if time_of(e.data["end"]) < time_of(e.data["start"]) or latest < earliest:
            add("data-implausible")
        self.recordings[e.recording] = {
            "source": e.source,
            "entry": e.seq,
            "data": e.data,
            "sealed": e.time,
            "earliest": earliest,
            "due": max(earliest, latest),
            "planned": False,
        }

    def on_access_opened(self, e, add):
        if e.session is None or "until" not in e.data:
            return add("event-incomplete")
        recording = self.recording(e, add)
        if recording is None:
            return
        if e.session in self.sessions:
            return add("session-twice")
        if self.policy is None:
            add("access-without-policy")
        purposes = self.sources.get(recording["source"], {}).get("purposes", [])
        if e.reason is None or e.purpose not in purposes:
            add("access-unfounded")
        if recording["planned"]:
            add("access-during-purge")
        if any(h["recording"] == e.recording and h["kind"] == "restriction" for h in self.holds.values()):
            add("access-under-restriction")
        until = time_of(e.data["until"])
        if until <= e.time:
            add("data-implausible")
        self.sessions[e.session] = {"recording": e.recording, "until": until, "bytes": 0, "told": False}

    def on_access_progress(self, e, add):
        if e.session is None:
            return add("event-incomplete")
        session = self.sessions.get(e.session)
        if session is None:
            return add("session-without-grant")
        if e.recording not in (None, session["recording"]):
            add("subject-differs")
        recording = self.recordings.get(session["recording"])
        if recording and any(end > recording["data"]["bytes"] for _, end in e.data.get("ranges", [])):
            add("read-past-end")
        if e.data.get("bytes", session["bytes"]) < session["bytes"]:
            add("data-implausible")
        session["bytes"] = e.data.get("bytes", 0)
        if e.event != "access.progress":
            del self.sessions[e.session]

    on_access_closed = on_access_revoked = on_access_expired = on_access_interrupted = on_access_progress

    def on_hold_placed(self, e, add):
        recording = self.recording(e, add)
        if recording is None:
            return
        if recording["planned"]:
            return add("hold-during-purge")
        if e.data["hold"] in self.holds:
            return add("hold-unknown")
        self.holds[e.data["hold"]] = {"recording": e.recording, "kind": e.data["kind"]}

    def on_hold_lifted(self, e, add):
        hold = self.holds.pop(e.data["hold"], None)
        if hold is None:
            return add("hold-unknown")
        if e.recording not in (None, hold["recording"]):
            add("subject-differs")
        if hold["recording"] in self.recordings:
            recording = self.recordings[hold["recording"]]
            recording["due"] = max(recording["due"], e.time)

    def held(self, recording):
        return any(hold["recording"] == recording for hold in self.holds.values())

    def on_purge_planned(self, e, add):
        recording = self.recording(e, add)
        if recording is None:
            return
        if self.held(e.recording):
            return add("purge-under-hold")
        if self.suspect and not recording["planned"]:
            add("purge-while-suspect")
        recording["planned"] = True

    def on_purge_failed(self, e, add):
        recording = self.recording(e, add)
        if recording is not None:
            if not recording["planned"]:
                add("purge-without-plan")
            recording["planned"] = False

    def on_purge_done(self, e, add):
        recording = self.recording(e, add)
        if recording is None:
            return
        if self.held(e.recording):
            return add("purge-under-hold")
        if not recording["planned"]:
            return add("purge-without-plan")
        if e.time < recording["earliest"]:
            add("purge-early")
        if e.time > recording["due"] + DAY:
            add("purged-late")
        sealed = recording["data"]
        told = (e.data["bytes"], e.data["sha256"], time_of(e.data["sealed"]), e.data["key"], e.data["object"])
        if told != (sealed["bytes"], sealed["sha256"], recording["sealed"], "destroyed", "removed"):
            add("certificate-differs")
        if time_of(e.data["due"]) != max(recording["earliest"], time_of(sealed["latest"])):
            add("certificate-differs")
        if any(session["recording"] == e.recording for session in self.sessions.values()):
            add("purge-during-session")
        del self.recordings[e.recording]

    def finish(self):
        for name, recording in self.recordings.items():
            late = self.before.time > recording["due"] + DAY
            if late and not self.held(name) and not self.suspect:
                self.found.add(("purge-late", recording["entry"]))


# --- files ---------------------------------------------------------------------------------------------------------


def number_path(n):
    path = f"{n % 1000:03}"
    while n >= 1000:
        n //= 1000
        path = f"x{n % 1000:03}/{path}"
    return path


def crc32c(raw):
    crc = 0xFFFFFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Ledger:
    """One directory: what is found in it goes into `found`, as (code, entry or None)."""

    def __init__(self, folder):
        self.folder = folder
        self.found = set()
        self.events = events_of_the_page()
        self.log_key = Key(self.read("vkey").decode().strip())
        self.entries = []
        self.epochs = []
        self.readable = True
        self.damaged = set()

    def read(self, path):
        try:
            with open(os.path.join(self.folder, path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def add(self, code, entry=None):
        self.found.add((code, entry))

    # A full bundle or tile may stand in for a partial one.
    def read_partial(self, kind, n, width):
        full = f"tile/{kind}/{number_path(n)}"
        raw = self.read(f"{full}.p/{width}") if width < 256 else None
        return (raw, True) if raw is not None else (self.read(full), width == 256)

    def bundles(self, size):
        """The lines of the first `size` entries, as far as they are here."""
        lines = []
        for n in range((size + 255) // 256):
            width = min(256, size - 256 * n)
            raw, exact = self.read_partial("entries", n, width)
            if raw is None:
                self.add("bundle-missing", 256 * n)
                return lines, False
            at = 0
            for seq in range(256 * n, 256 * n + width):
                length = int.from_bytes(raw[at : at + 2], "big")
                if len(raw) < at + 2 + length or len(raw) < at + 2:
                    # Where in the bundle the first wrong length stood, nothing tells: none of it is judged.
                    self.add("entry-damaged", seq)
                    return lines[: 256 * n], False
                lines.append(raw[at + 2 : at + 2 + length])
                at += 2 + length
            if exact and at != len(raw):
                self.add("bundle-damaged", 256 * n + width - 1)
        return lines, True

    def check_tiles(self, leaves, size, root, full_only):
        """Every tile beside its entries; gives the leaf hashes that were signed, as far as anything tells."""
        level, hashes, stored = 0, leaves, []
        while size >> (8 * level):
            count = size >> (8 * level)
            for n in range((count + 255) // 256):
                width = min(256, count - 256 * n)
                if full_only and width < 256:
                    continue
                raw, exact = self.read_partial(str(level), n, width)
                computed = b"".join(hashes[256 * n : 256 * n + width])
                if raw is None:
                    self.add("tile-missing")
                elif len(raw) != 32 * width and (exact or len(raw) < 32 * width or len(raw) % 32):
                    self.add("tile-damaged", 256 * n if level == 0 else None)
                elif raw[: 32 * width] != computed:
                    self.compare(level, n, raw, hashes)
                if level == 0:
                    stored.append((raw or b"")[: 32 * width])
            hashes = [root_of(hashes[i : i + 256]) for i in range(0, len(hashes) // 256 * 256, 256)]
            level += 1
        # Which of the two is wrong: the hashes of the tiles may give the signed root although the entries do not.
        raw = b"".join(stored)
        told = [raw[i : i + 32] for i in range(0, len(raw), 32)]
        if root_of(leaves) != root and root_of(told) == root:
            for code, seq in [pair for pair in self.found if pair[0] == "tile-damaged"]:
                self.found.discard((code, seq))
            for seq, (a, b) in enumerate(zip(told, leaves)):
                if a != b:
                    self.add("entry-damaged", seq)
            return told
        return leaves

    def compare(self, level, n, raw, hashes):
        for place in range(min(256, len(raw) // 32, len(hashes) - 256 * n)):
            if raw[32 * place : 32 * place + 32] != hashes[256 * n + place]:
                self.add("tile-damaged", 256 * n + place if level == 0 else None)
                return

    def epoch_key(self, size):
        signs = [key for seq, key in self.epochs if seq + 1 < size or (seq == 0 and size == 1)]
        return signs[-1] if signs else None

    def announce(self, e):
        if (e.event == "ledger.created") != (e.seq == 0):
            self.add("key-announcement", e.seq)
            self.add("event-out-of-place", e.seq)
            return
        if e.event not in ("ledger.created", "ledger.rekeyed"):
            return
        try:
            if e.seq == 0:
                told = (e.data.get("origin"), e.data.get("log_key"))
                require(told == (self.log_key.name, self.log_key.text), "another log key")
            key = Key(e.data["epoch_key"])
            require(key.name == self.log_key.name, "another name")
            before = self.epochs[-1][1] if self.epochs else self.log_key
            require(key.public not in (before.public, self.log_key.public), "not a new key")
            self.epochs.append((e.seq, key))
        except (Wrong, KeyError, AttributeError):
            self.add("key-announcement", e.seq)

    def walk(self, lines, signed, conduct):
        """Judges the entries. `signed` are their leaf hashes as signed: an entry of other bytes is passed over."""
        prev, before = sha256(b""), None
        for seq, line in enumerate(lines):
            if leaf_hash(line) != signed[seq]:
                self.readable, prev, before = False, signed[seq], None
                self.damaged.add(seq)
                continue
            try:
                e = Entry(line)
            except Wrong:
                self.add("entry-format", seq)
                self.readable = False
                prev, before = leaf_hash(line), None
                continue
            if e.prev != prev:
                self.add("chain-broken", seq)
            prev = leaf_hash(line)
            if e.seq != seq:
                self.add("entry-order", seq)
                self.readable = False
                continue
            suspect = "ledger.clock-suspect"
            if before and e.time < before.time and suspect not in (e.event, before.event):
                self.add("time-falls", seq)
            if before and e.boot == before.boot and e.up < before.up:
                self.add("time-falls", seq)
            before = e
            self.entries.append(e)
            if not self.readable:
                continue
            self.announce(e)
            try:
                check_data(e, self.events)
            except Wrong:
                self.add("event-unknown", seq)
                continue
            conduct.judge(e)
        if conduct.before and self.readable:
            conduct.finish()

    def check_details(self, size, conduct):
        raw = self.read("details.jsonl")
        if not raw:
            return
        commitments = {e.seq: e.detail for e in self.entries if e.detail is not None}
        last = -1
        for line in raw.split(b"\n")[: -1 if raw.endswith(b"\n") else None]:
            try:
                seq = strict_json(line)["seq"]
            except (Wrong, KeyError, TypeError):
                # It can only be of the next entry that commits to a detail.
                missing = [seq for seq in sorted(commitments) if seq > last]
                self.add("detail-damaged", missing[0] if missing else None)
                commitments.pop(missing[0] if missing else None, None)
                continue
            if not whole(seq) or seq >= size:
                self.add("detail-damaged")
            elif seq <= last:
                self.add("detail-damaged", seq)
            elif seq not in self.damaged and commitments.pop(seq, None) != sha256(b"\2", line):
                self.add("detail-damaged", seq)
            last = max(last, seq) if whole(seq) else last
        for seq in commitments:
            if not any(a <= seq < b for a, b in conduct.destroyed):
                self.add("detail-missing", seq)

    def check_checkpoints(self, leaves, end_known):
        folder = os.path.join(self.folder, "checkpoints")
        kept = sorted(int(n) for n in os.listdir(folder)) if os.path.isdir(folder) else None
        for size in kept or []:
            self.check_checkpoint(self.read(f"checkpoints/{size}"), leaves, size, end_known)
        pinned = self.read("checkpoint.pinned")
        if pinned is not None:
            try:
                note = Note(pinned)
                require(note.signed_by(self.log_key) and note.origin == self.log_key.name, "of another key")
            except Wrong as error:
                raise SystemExit(2) from error
            self.check_checkpoint(pinned, leaves, note.size, end_known)
        closed = [seq for seq, _ in self.epochs if 0 < seq and seq + 1 < len(leaves)]
        if closed and kept is None:
            self.add("epochs-missing")
        for seq in closed if kept is not None else []:
            if seq + 1 not in kept:
                self.add("epoch-unclosed", seq)

    def check_checkpoint(self, raw, leaves, size, end_known):
        try:
            note = Note(raw)
            require(note.origin == self.log_key.name and note.signed_by(self.log_key), "not of the log key")
            require(note.size == size, "of another size")
        except Wrong:
            return self.add("checkpoint-damaged", size - 1 if size <= len(leaves) else None)
        if size > len(leaves):
            return self.add("rollback", len(leaves)) if end_known else None
        if self.readable and not note.signed_by_both(self.log_key, self.epoch_key(size)):
            return self.add("checkpoint-damaged", size - 1)
        if root_of(leaves[:size]) != note.root:
            self.add("fork", size - 1)

    def check_policy(self, note):
        raw = self.read("policy")
        if raw is None:
            return
        groups, quorum = {"none": True}, None
        for words in (line.split() for line in raw.decode().splitlines()):
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "witness":
                cosigned = note.cosigned_by(Key(words[2], kind=4))
                if cosigned is False:
                    self.add("cosignature-bad")
                groups[words[1]] = cosigned is True
            elif words[0] == "group":
                members = [groups[name] for name in words[3:]]
                least = {"any": 1, "all": len(members)}.get(words[2]) or int(words[2])
                groups[words[1]] = sum(members) >= least
            elif words[0] == "quorum":
                quorum = groups[words[1]]
        if not quorum:
            self.add("quorum-missing")

    def verify(self):
        conduct = Conduct(self.found)
        tail = self.read("tail")
        return self.verify_live(tail, conduct) if tail is not None else self.verify_export(conduct)

    def verify_export(self, conduct):
        raw = self.read("checkpoint")
        if raw is None:
            raise SystemExit(2)
        try:
            note = Note(raw)
        except Wrong:
            self.add("head-damaged")
            return
        lines, whole_ledger = self.bundles(note.size)
        leaves = [leaf_hash(line) for line in lines]
        if whole_ledger:
            leaves = self.check_tiles(leaves, note.size, note.root, False)
            if root_of(leaves) != note.root:
                self.add("root-differs", note.size - 1)
        self.walk(lines, leaves, conduct)
        if whole_ledger and self.readable and not note.signed_by_both(self.log_key, self.epoch_key(note.size)):
            self.add("head-signature")
        elif not (note.origin == self.log_key.name and note.signed_by(self.log_key)):
            self.add("head-signature")
        self.check_policy(note)
        self.check_checkpoints(leaves, whole_ledger)
        if whole_ledger:
            self.check_details(note.size, conduct)

    def verify_live(self, tail, conduct):
        body, crc = tail[:4092], tail[4092:4096]
        header = {
            "good": tail[:8] == b"GREFTAIL" and len(crc) == 4 and crc32c(body) == int.from_bytes(crc, "little"),
            "number": tail[48:56],
            "base": int.from_bytes(tail[56:64], "little"),
        }
        log_id = sha256(self.log_key.name.encode(), b"\n\1", self.log_key.public)
        if not header["good"] or tail[8:16] [:2] != b"\1\0" or tail[16:48] != log_id:
            return self.add("tail-damaged")
        lines, whole_ledger = self.bundles(header["base"])
        leaves = [leaf_hash(line) for line in lines]
        roots = [tail[i : i + 32] for i in range(96, 96 + 32 * int.from_bytes(tail[10:12], "little"), 32)]
        last = leaves[-1] if leaves else sha256(b"")
        if not whole_ledger or frontier(leaves) != roots or tail[64:96] != last:
            self.add("tail-damaged")
        self.check_tiles(leaves, header["base"], root_of(leaves), True)
        more, heads, end, damaged = self.frames(tail, header["number"])
        note = heads[-1][1] if heads else None
        kept = lines + more[: heads[-1][0]] if heads else lines
        leaves = [leaf_hash(line) for line in kept]
        self.walk(kept, leaves, conduct)
        for count, head in heads:
            size = header["base"] + count
            good = head.size == size and head.root == root_of(leaves[:size])
            if not good or self.readable and not head.signed_by_both(self.log_key, self.epoch_key(size)):
                self.add("tail-damaged", size - 1)
        if damaged and self.later_head(tail, header["number"], end):
            self.add("tail-damaged", len(lines) + len(more))
        elif tail[end:].strip(b"\0") or note and len(more) > heads[-1][0]:
            self.add("tail-torn", len(kept))
        if note is None:
            self.add("head-missing")
        else:
            self.check_policy(note)
        self.check_checkpoints(leaves, not any(code == "tail-damaged" for code, _ in self.found))

    def frame(self, tail, number, at):
        """(type, payload, end), or None."""
        kind, length = tail[at], int.from_bytes(tail[at + 1 : at + 5], "little")
        if kind not in (1, 2, 3) or length > {1: 65535, 2: 2 << 20, 3: 8192}[kind]:
            return None
        end = at + 9 + length
        crc = int.from_bytes(tail[end - 4 : end], "little")
        if end > len(tail) or crc32c(number + at.to_bytes(8, "little") + tail[at : end - 4]) != crc:
            return None
        return kind, tail[at + 5 : end - 4], end

    def frames(self, tail, number):
        """Lines, heads as (lines before it, note), where the frames end, and whether something else follows."""
        lines, heads, at = [], [], 4096
        while at < len(tail) and tail[at]:
            frame = self.frame(tail, number, at)
            if frame is None:
                return lines, heads, at, True
            kind, payload, end = frame
            try:
                if kind == 1:
                    require(Entry(payload).seq is not None, "")
                    lines.append(payload)
                if kind == 3:
                    heads.append((len(lines), Note(payload)))
            except Wrong:
                self.add("tail-damaged", None)
                return lines, heads, at, True
            at = end
        return lines, heads, at, False

    def later_head(self, tail, number, at):
        opening = self.log_key.name.encode() + b"\n"
        while (at := tail.find(opening, at + 1)) >= 0:
            frame = self.frame(tail, number, at - 5) if at >= 5 and tail[at - 5] == 3 else None
            if frame and Note(frame[1]).signed_by(self.log_key):
                return True
        return False


def frontier(leaves):
    """Roots of the complete subtrees, largest first."""
    roots, at = [], 0
    for bit in reversed(range(len(leaves).bit_length())):
        if len(leaves) >> bit & 1:
            roots.append(root_of(leaves[at : at + (1 << bit)]))
            at += 1 << bit
    return roots


# --- the program ---------------------------------------------------------------------------------------------------


def verify(folder):
    """(exit code, codes with their first entry)."""
    ledger = Ledger(folder)
    try:
        ledger.verify()
    except SystemExit:
        return 2, {}
    first = {}
    for code, entry in sorted(ledger.found, key=lambda pair: (pair[0], -1 if pair[1] is None else pair[1])):
        first.setdefault(code, entry)
    grave = set(first) - INCOMPLETE
    return (1 if grave else 3 if first else 0), first


# The codes that say which of several witnesses is wrong: this reader weighs more simply than greffier-verify.
WEIGHED = {"entry-damaged", "tile-damaged", "bundle-damaged", "chain-broken", "entry-order", "root-differs", "fork"}
WEIGHED |= {"tail-damaged", "head-missing", "head-damaged", "head-signature", "detail-damaged", "checkpoint-damaged"}


def kit(folder):
    wrong, same = [], 0
    names = sorted(os.listdir(folder))
    for name in names:
        with open(os.path.join(folder, name, "expected"), encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if not line.startswith("#")]
        exit_code = int(lines[0].split()[1])
        expected = {line.split()[0] for line in lines[1:]}
        mine, found = verify(os.path.join(folder, name))
        codes = set(found)
        if mine != exit_code:
            wrong.append(f"{name}: exit {mine} for {exit_code}: {found}, expected {sorted(expected)}")
        elif expected - codes - WEIGHED or codes - expected - WEIGHED:
            wrong.append(f"{name}: {sorted(codes)} for {sorted(expected)}")
        elif expected and not expected & codes:
            wrong.append(f"{name}: no code in common: {sorted(codes)} for {sorted(expected)}")
        else:
            same += codes == expected
    for line in wrong:
        print("not ok -", line)
    print(f"{len(names)} ledgers: {len(names) - len(wrong)} agree, {same} of them in every code")
    return 1 if wrong or not names else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--kit":
        return kit(sys.argv[2])
    if len(sys.argv) == 2:
        code, found = verify(sys.argv[1])
        for name, entry in found.items():
            print(name, "-" if entry is None else entry)
        return code
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
