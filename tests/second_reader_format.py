"""The bytes of greffier's ledger, for second_reader.py: hashes, keys, signed notes, trust policies, tail frames, entries.

Written from man/greffier-ledger.5, whose sections are named below. What breaks a rule of the format is a ValueError, as it is for
Python's own decoders.
"""

import base64
import hashlib
import json
import os
import re
from collections import namedtuple
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "man", "greffier-ledger.5")
MAX_NOTE, MAX_LINE, MAX_DETAIL, MAX_POLICY = 128 << 10, 65535, 2 << 20, 2 << 20


def require(condition, why):
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
KEY_NAME = r"[^\s+\0-\x1f\x7f-\x9f]+"
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
    match = re.fullmatch(rf"({KEY_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/=]+)", text)
    require(match and len(match[1].encode()) <= 255, "not a verifier key")
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
        match = re.fullmatch(rf"— ({KEY_NAME}) ([A-Za-z0-9+/=]{{8,}})", line)
        require(match and len(match[1].encode()) <= 255, "not a signature line")
        signature = unbase64(match[2])
        lines.append((match[1], signature[:4], signature[4:]))
    match = re.fullmatch("([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]{43}=)", text)
    require(match and int(match[2]) < 2**53, "not a checkpoint")
    return Head(text + "\n", lines, match[1], int(match[2]), unbase64(match[3]))


def lines_of(head, key):
    return [signature for name, key_id, signature in head.lines if (name, key_id) == (key.name, key.id)]


def signed_by(head, key):
    """A good line of the key, and no bad one."""
    lines = lines_of(head, key)
    return bool(lines) and all(verifies(key.public, line, head.text.encode()) for line in lines)


def note_key(epochs, log_key, seq, entry):
    """Takes in the key that an entry announces; false where it announces one wrongly."""
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
    require(len(data) <= MAX_POLICY and data.endswith(b"\n"), "too long, or cut off")
    require(not re.search(rb"[\0-\x08\x0b-\x1f\x7f]", data), "control characters")
    logs, named, members, quorum = [], {"none": (0, [])}, {"none"}, None
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        why = f"no line of a trust policy: {line!r}"
        words = [word for word in re.split("[ \t]", line) if word]
        kind, name = (words + ["#", ""])[:2]
        if kind == "log" and len(words) in (2, 3):
            logs.append(read_key(name))
        elif kind == "witness":
            require(name not in named and len(words) in (3, 4), why)
            not_checked = unbase64(words[2].split("+", 2)[-1])[:1] == b"\6"  # ML-DSA-44
            named[name] = (1, []) if not_checked else read_key(words[2], 4)
        elif kind == "group":
            of = words[3:]
            require(name not in named and of and set(of) <= named.keys() - members and len(set(of)) == len(of), why)
            require(re.fullmatch("all|any|[0-9]{1,3}", words[2]), why)
            named[name] = ({"all": len(of), "any": 1}.get(words[2]) or int(words[2]), of)
            require(1 <= named[name][0] <= len(of) and len(named) < 512, why)
            members.update(of)
        elif not kind.startswith("#"):
            require(kind == "quorum" and quorum is None and name in named and len(words) == 2, why)
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


# ---- TAIL: frames

CRC_OF_BYTE = list(range(256))
for _ in range(8):
    CRC_OF_BYTE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CRC_OF_BYTE]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_OF_BYTE[(crc ^ byte) & 255] ^ crc >> 8
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def frame(tail, number, at):
    """Type, begin of the payload and end of the frame at this offset, or None."""
    kind, length = tail[at], int.from_bytes(tail[at + 1 : at + 5], "little")
    end = at + 9 + length
    if length > {1: MAX_LINE, 2: MAX_DETAIL, 3: 8 << 10}.get(kind, -1) or end > len(tail):
        return None
    good = crc32c(number + at.to_bytes(8, "little") + tail[at : end - 4]) == tail[end - 4 : end]
    return (kind, at + 5, end) if good else None


# ---- ENTRY, EVENTS: each value has a form, here a regular expression for its JSON text

N, TEXT, NAME, ID, DIGEST = "[0-9]+", '(?s:".*")', '"[a-z0-9-]{1,64}"', '"[a-z2-7]{25}[aeimquy4]"', '"[0-9a-f]{64}"'
TIME = r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"'
HASH, KIND = '"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="', '"(footage|call|screen)"'
COLUMNS = {
    "v": "1", "seq": N, "time": TIME, "boot": '"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', "up": N, "prev": HASH,
    "event": r'"(?=.{1,64}")[a-z-]+\.[a-z-]+"', "outcome": '"(done|granted|denied|failed)"', "recording": ID,
    "source": NAME, "session": ID, "purpose": NAME, "reason": NAME, "policy": DIGEST, "data": ".*", "detail": HASH,
}  # fmt: skip
INTEGERS = """interval_s dropped_bytes turned_away size known_size bundle generation count entry old new bytes duration_us
    recipients offset recordings keys damaged repaired unread""".split()
TEXTS = "origin log_key epoch_key why what mode media key object".split()
PAIRS, NAMES, FLAG = rf"\[(\[{N},{N}\],?)*\]", rf"\[({NAME},?)*\]", "true|false"
# By key, and by event and key where other events may use the key otherwise.
FORMS = dict.fromkeys(INTEGERS, N) | dict.fromkeys(TEXTS, TEXT)
FORMS |= dict.fromkeys(["since", "earliest", "latest", "review", "due", "sealed"], TIME)
FORMS |= {
    "ranges": PAIRS, "destroyed": PAIRS, "kept": PAIRS, "purposes": NAMES, "sources": NAMES, "class": NAME, "zone": NAME,
    "after_crash": FLAG, "details": FLAG, "epochs": FLAG, "hold": ID, "sha256": DIGEST, "known_root": HASH,
    "spool": rf'\{{"device":{N},"inode":{N},"size_bytes":{N}(,"modified":{TIME})?\}}',
    "source.registered kind": KIND, "source.changed kind": KIND, "recording.sealed kind": KIND,
    "hold.placed kind": '"(judicial|incident|request|restriction)"',
    "recording.sealed start": TIME, "recording.sealed end": TIME, "access.opened until": TIME,
    "access.searched from": TIME, "access.searched to": TIME, "ledger.read from": N,
    "key.rotation-ordered from": N, "key.rotation-ordered to": N, "key.rotated from": N, "key.rotated to": N,
}  # fmt: skip


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
        return all(fits(value, FORMS.get(f"{event} {key}", FORMS.get(key, "(?s).*"))) for key, value in data.items())
    except (ValueError, RecursionError):
        return False
