"""The rules of conduct, for second_reader.py: READING 7 of man/greffier-ledger.5, and man/greffier-verify.1."""

from types import SimpleNamespace

from second_reader_format import EVENTS, micros

SECOND, MINUTES, DAY = 10**6, 60 * 10**6, 86400 * 10**6  # in microseconds
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
        # The boot in which the service runs, how often it writes, and (boot, up) of the last entry.
        self.run = self.interval = self.last = None
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
        recording = self.recordings.get(entry.get("recording"))
        try:
            deny((event == "ledger.created") != (seq == 0), "event-out-of-place")
            if took or event == "access.closed":
                deny(not NEEDED.get(event, set()) <= entry.keys(), "event-incomplete")
                self.happen(entry, event, entry["data"], entry["at"])
            self.rule(recording and entry.get("source", recording.source) != recording.source, "subject-differs")
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
