#!/usr/bin/python3
"""A second reader of greffier's ledger, independent of it: Python's standard library and `cryptography`.

Written from man/greffier-ledger.5, whose sections are named below; the list of events is read from that page, which must
stand in ../man. It prints each code of man/greffier-verify.1 that it finds, with the first entry that it is about. Exit:
0 sound, 1 findings, 2 unreadable or wrong usage, 3 sound as far as it goes, but incomplete. Encrypted details stay closed.
Bytes are read in second_reader_format.py; the rules of conduct stand in second_reader_conduct.py.

    second_reader.py LEDGER --key FILE [--checkpoint FILE]... [--policy FILE]
    second_reader.py --kit DIR        each example below DIR, compared with its file `expected`
"""

import argparse
import array
import os
import re
import struct
import sys

sys.dont_write_bytecode = True  # before the other two files of this reader
from second_reader_conduct import Conduct
from second_reader_format import MAX_DETAIL, MAX_LINE, MAX_NOTE, MAX_POLICY, Key, Tree, cosigned_by, crc32c, event_fits
from second_reader_format import frame, note_key, quorum_met, read_entry, read_head, read_key, read_policy, require, sha256
from second_reader_format import signed_by

INCOMPLETE = {"bundle-missing", "tile-missing", "epochs-missing", "head-missing", "tail-torn", "quorum-missing"}
MAX_TAIL, NO_DETAIL = 1 << 30, (2**64, None)


def tile_path(level, n, width):
    groups = [f"{n % 1000:03}"]
    while n >= 1000:
        n //= 1000
        groups.insert(0, f"x{n % 1000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")


class Ledger:
    def __init__(self, folder, log_key, pinned, policy):
        self.folder, self.log_key, self.pinned, self.policy = os.path.realpath(folder), log_key, pinned, policy
        self.found = {}  # code -> first entry; None: about none
        self.tree, self.prev, self.clock, self.conduct = Tree(), sha256(), None, Conduct(self.add)
        self.epochs = []  # (the entry that announces it, key)
        self.whole, self.blind = True, False  # every entry is there; one could not be read
        self.details, self.detail = None, NO_DETAIL  # those in clear, and the next of them
        self.sealed = None  # in service: the entries of the bundles at hand that have one under its key
        self.missing = array.array("Q")  # entries whose detail is not there

    def add(self, code, entry=None):
        before = self.found.setdefault(code, entry)
        if before is not None and (entry is None or entry < before):
            self.found[code] = entry

    # Files. No link is followed; what is no plain file, or longer than its kind can be, is refused.

    def find(self, path, limit, is_kind=os.path.isfile):
        at = os.path.join(self.folder, path)
        if not os.path.lexists(at):
            return None
        if os.path.realpath(at) != at or not is_kind(at) or os.path.getsize(at) > limit:
            return self.add("file-refused")
        return at

    def read(self, path, limit):
        at = self.find(path, limit)
        return at and contents(at, limit)

    def read_width(self, level, n, width, limit):
        """A bundle or tile; and whether it is the one of this width, in whose place a full one may stand."""
        data = self.read(tile_path(level, n, width), limit)
        if data is None and width < 256:
            return self.read(tile_path(level, n, 256), limit), False
        return data, True

    def tile(self, level, n, width):
        data, exact = self.read_width(level, n, width, 1 << 20)
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

    # Entries.

    def stored(self, size):
        """Line, entry and hash in the tile of each entry in the bundles, None for what is not there, while there are bundles."""
        for n in range((size + 255) // 256):
            width, at = min(256, size - 256 * n), 0
            data, exact = self.read_width("entries", n, width, 256 * (2 + MAX_LINE))
            if data is None:
                return self.add("bundle-missing", 256 * n)
            if self.sealed is not None:
                self.sealed = {seq for seq in self.sealed if seq >= self.tree.size} | self.sealed_details(n)
            hashes = self.tile(0, n, width) or [None] * width
            for in_tile in hashes:
                end = at + 2 + int.from_bytes(data[at : at + 2], "big")
                line = data[at + 2 : end] if at + 2 <= len(data) and end <= len(data) else None
                at = len(data) if line is None else end
                yield line, None if line is None else read_entry(line), in_tile
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
        if isinstance(entry, dict) and entry["prev"] != self.prev:
            self.add("chain-broken", seq)
        if isinstance(entry, dict) and entry["seq"] == seq:
            self.check_time(seq, entry["at"], entry["event"] == "ledger.clock-suspect", entry["boot"], entry["up"])
            self.check_detail(seq, entry["detail"])
            if not self.blind and not note_key(self.epochs, self.log_key, seq, entry):
                self.add("key-announcement", seq)
            if not self.blind and event_fits(entry):
                self.conduct.judge(seq, entry)
            elif not self.blind:
                self.add("event-unknown", seq)
        else:  # from here on it is not known who signs, and what happened
            if entry:
                self.add("entry-order" if isinstance(entry, dict) else entry, seq)
            self.blind, self.clock = True, None
            self.next_detail(seq)
        self.tree.add(signed)
        self.prev = signed
        self.meet_heads([seq + 1])

    def check_time(self, seq, at, suspect, boot, up):
        if self.clock:
            at_before, suspect_before, boot_before, up_before = self.clock
            if at < at_before and not suspect and not suspect_before or boot == boot_before and up < up_before:
                self.add("time-falls", seq)
        self.clock = at, suspect, boot, up

    # Details.

    def clear_details(self, path):
        """Number and hash of each line; the number is -1 where none can be read."""
        with open(path, "rb") as file:
            while line := file.readline(MAX_DETAIL):
                number = re.match(rb'\{"seq":([0-9]{1,16}),', line)
                yield int(number[1]) if number else -1, sha256(b"\2", line[:-1]) if line.endswith(b"\n") else b""
        yield NO_DETAIL

    def next_detail(self, seq, wanted=False):
        """That of entry seq, if it stands in its place. One of an entry before is out of order, or there twice."""
        while 0 <= self.detail[0] < seq:
            self.add("detail-damaged", self.detail[0])
            self.detail = next(self.details)
        number, found = self.detail
        if number == seq or number < 0 and wanted:
            self.detail = next(self.details)
            return found
        return None

    def check_detail(self, seq, commitment):
        found = self.next_detail(seq, commitment)
        if self.sealed is not None:  # in service: under its key, so it can only be there or not
            found = commitment or b"" if seq in self.sealed else None
        if commitment and found is None and (self.details or self.sealed is not None):
            self.missing.append(seq)
        elif found != commitment and found is not None:
            self.add("detail-damaged", seq)

    def sealed_details(self, n):
        """The entries that have one in details/N: 256 times a length and so many bytes."""
        path, there = self.find("details" + tile_path("", n, 256)[5:], sys.maxsize), set()
        try:
            with open(path or os.devnull, "rb") as file:
                for seq in range(256 * n, 256 * n + 256 if path else 0):
                    (length,) = struct.unpack("<I", file.read(4))
                    there |= {seq} if length else set()
                    require(length <= MAX_DETAIL and (not length or len(file.read(length)) == length), "cut off")
                require(not file.read(1), "longer")
        except (ValueError, struct.error):
            self.add("detail-damaged", 256 * n)
        return there

    def finish_details(self):
        if self.next_detail(self.tree.size) is not None or self.detail != NO_DETAIL:
            self.add("detail-damaged")
        for seq in [] if self.blind else self.missing:
            gone = self.conduct.destroyed.get(seq // 256, (0, []))[1]
            if not any(first <= seq < end for first, end in gone):
                self.add("detail-missing", seq)

    # Heads.

    def list_heads(self):
        folder = self.find("checkpoints", sys.maxsize, os.path.isdir)
        names = os.listdir(folder) if folder else []
        self.kept = {int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,15}", name)} if folder else None
        self.due = (self.kept or set()) | {head.size for head in self.pinned}

    def signed(self, head, log_key_alone=False):
        """None: no epoch key is announced. Where an announcement may be unread, the log key alone counts."""
        keys = [key for seq, key in self.epochs if seq + 1 < head.size or (seq, head.size) == (0, 1)]
        if log_key_alone or self.blind or not self.whole:
            keys = [self.log_key]
        good = head.origin == self.log_key.name and signed_by(head, self.log_key)
        return good and signed_by(head, keys[-1]) if keys else None

    def meet_heads(self, sizes):
        """READING 4: those brought, and checkpoints/SIZE."""
        for size in self.due.intersection(sizes):
            last, beyond = max(size - 1, 0), size > self.tree.size
            heads = [head for head in self.pinned if head.size == size]
            try:
                if self.kept and size in self.kept:
                    heads.append(read_head(self.read(f"checkpoints/{size}", MAX_NOTE) or b""))
            except ValueError:
                self.add("checkpoint-damaged", last)
            for head in heads:
                if head.size != size or not self.signed(head, beyond):
                    self.add("checkpoint-damaged", last)
                elif beyond:
                    self.add("rollback", self.tree.size)
                elif head.root != self.tree.root():
                    self.add("fork", last)

    def check_closed(self, size):
        for seq in [seq for seq, _ in self.epochs if 0 < seq < size - 1]:
            if self.kept is None:
                self.add("epochs-missing")
            elif seq + 1 not in self.kept:
                self.add("epoch-unclosed", seq)

    def check_policy(self, heads):
        """COSIGNATURES"""
        logs, named, quorum = self.policy
        for head in heads:
            if any(isinstance(key, Key) and cosigned_by(head, key) is False for key in named.values()):
                self.add("cosignature-bad")
            if logs and not any(signed_by(head, key) for key in logs) or not quorum_met(named, head, quorum):
                self.add("quorum-missing")

    # The two kinds of ledger.

    def export(self, data):
        try:
            head = read_head(data)
        except ValueError:
            self.whole = False
            return self.add("head-damaged")
        details = self.find("details.jsonl", sys.maxsize)
        if details:
            self.details = self.clear_details(details)
            self.detail = next(self.details)
        self.read_bundles(head.size, None, head.root)
        self.upper_tiles(self.whole)
        signed = self.signed(head)
        if not signed:
            self.add("head-damaged" if signed is None else "head-signature")
        if self.whole and self.tree.root() != head.root:
            self.add("root-differs", max(head.size - 1, 0))
        return head

    def live(self, tail):
        """TAIL"""
        fields = struct.unpack("<8sHHI32s8sQ32s", tail[:96].ljust(96, b"\0"))
        magic, version, count, length, log_id, number, base, prev = fields
        expected = (b"GREFTAIL", 1, 4096, sha256(self.log_key.name.encode(), b"\n\1", self.log_key.public))
        roots, end = [tail[at : at + 32] for at in range(96, 96 + 32 * count, 32)], 96 + 32 * count
        good = (magic, version, length, log_id) == expected and base % 256 == 0 and end <= 4092
        self.whole = good and not tail[end:4092].strip(b"\0") and crc32c(tail[:4092]) == tail[4092:4096]
        if not self.whole:
            return self.add("tail-damaged")
        self.sealed = set()
        self.read_bundles(base, prev, None)
        self.sealed = None
        self.upper_tiles(False)
        if self.whole and (roots, prev) != (self.tree.roots, self.prev):
            return self.add("tail-damaged")
        return self.frames(tail, number) if self.whole else None

    def frames(self, tail, number):
        """The entries up to the last head, and that head."""
        frames, at = [], 4096
        while at < len(tail) and tail[at] and (found := frame(tail, number, at)):
            frames.append(found)
            at = found[2]
        base, count, damaged_type = self.tree.size, sum(kind == 1 for kind, _, _ in frames), tail[at : at + 1]
        covered = max((place for place, (kind, _, _) in enumerate(frames, 1) if kind == 3), default=0)
        head, detail_owed = None, False
        for kind, begin, end in frames[:covered]:
            payload, seq = tail[begin : end - 4], self.tree.size
            if detail_owed and kind != 2:
                self.missing.append(seq - 1)
            if kind == 1:
                entry = read_entry(payload)
                good = isinstance(entry, dict) and (entry["seq"], entry["prev"]) == (seq, self.prev)
                if good:
                    self.take(entry, sha256(b"\0", payload))
                detail_owed = good and entry["detail"] is not None
            elif kind == 2:
                good, detail_owed = detail_owed, False
            else:
                good = self.tail_head(payload)
                head, detail_owed = good or head, False
            if not good:
                self.add("tail-damaged", seq - (kind != 1))
                return head
        kept_end, rest = frames[covered - 1][2] if covered else 4096, tail[at:].strip(b"\0")
        if rest and self.damaged_before(tail, number, at, kept_end, head):
            self.add("tail-damaged", base + count - (damaged_type in (b"\2", b"\3")))
        elif rest or covered < len(frames):
            self.add("tail-torn", self.tree.size)
        return head

    def tail_head(self, payload):
        try:
            head = read_head(payload)
        except ValueError:
            return None
        return head if (head.size, head.root) == (self.tree.size, self.tree.root()) and self.signed(head) else None

    def damaged_before(self, tail, number, damage, kept_end, head):
        """Whether a signed head follows the damage."""
        later, at = [], damage
        while (at := tail.find(self.log_key.name.encode() + b"\n", at + 1)) >= 0:
            found = frame(tail, number, at - 5)
            try:
                if found and found[0] == 3 and signed_by(read_head(tail[at : found[2] - 4]), self.log_key):
                    later.append(found)
            except ValueError:
                pass
        if not head or len(later) != 1 or tail[later[0][2] :].strip(b"\0"):
            return bool(later)
        # The exception: sectors that were never written, before the one head that ends the file.
        sectors = range(damage // 512 * 512, later[0][1] // 512 * 512, 512)
        return all(tail[max(sector, kept_end) : sector + 512].strip(b"\0") for sector in sectors)

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


# ---- The program


def contents(path, limit):
    with open(path, "rb") as file:
        return file.read(limit + 1)


def verify(folder, key, checkpoints, policy):
    """Exit code, and code -> first entry."""
    try:
        log_key = read_key(contents(key, 4096).decode().removesuffix("\n"))
        pinned = [read_head(contents(path, MAX_NOTE)) for path in checkpoints]
        for head in pinned:
            require(head.origin == log_key.name and signed_by(head, log_key), "a checkpoint that this key did not sign")
        ledger = Ledger(folder, log_key, pinned, read_policy(contents(policy, MAX_POLICY)) if policy else None)
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
    words = ["sound", "not sound", "cannot be read", "sound as far as it goes, but incomplete"]
    print(*listed(found), words[code], sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
