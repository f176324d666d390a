//! What the verifier can say: one table of codes, and the report that collects them.
//!
//! Codes are stable: scripts and auditors' files refer to them. Must never drop the first finding of a kind.

/// What a code weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Bytes are not what was signed.
    Damage,
    /// What was signed breaks a rule.
    Rule,
    /// Another history was signed before, or a longer one.
    History,
    /// Something is not here, so it could not be checked.
    Incomplete,
    /// Worth knowing; changes nothing.
    Note,
}

impl Class {
    /// How a line of the report begins.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Damage => "damage found",
            Self::Rule => "rule broken",
            Self::History => "history differs",
            Self::Incomplete => "incomplete",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $class:ident, $meaning:literal;)*) => {
        /// Everything that can be found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $meaning] $variant),* }

        impl Code {
            /// All codes, in the order of `greffier-verify(1)`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            /// What it weighs.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class),* }
            }
            /// What it means, for the manual page.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}

codes! {
    EntryDamaged = "entry-damaged", Damage, "an entry is not the one that was signed";
    BundleDamaged = "bundle-damaged", Damage, "a bundle holds more than its entries";
    TileDamaged = "tile-damaged", Damage, "a tile differs from the entries below it";
    TailDamaged = "tail-damaged", Damage, "the tail of a live ledger is damaged or contradicts the bundles";
    ChainBroken = "chain-broken", Damage, "an entry does not name the entry before it";
    RootDiffers = "root-differs", Damage, "the entries do not give the root that the head signs";
    HeadDamaged = "head-damaged", Damage, "the head is not a checkpoint";
    HeadSignature = "head-signature", Damage, "the head lacks a good signature of the log key or the epoch key";
    CheckpointDamaged = "checkpoint-damaged", Damage, "a kept checkpoint cannot be read or is not signed by both keys";
    DetailDamaged = "detail-damaged", Damage, "a detail is not the one that its entry commits to";
    NotIncluded = "not-included", Damage, "the proof of a receipt does not lead from its entry to the signed root";
    DetailMissing = "detail-missing", Damage, "a detail is not here, and no entry says that it was destroyed";
    CosignatureBad = "cosignature-bad", Damage, "a cosignature of a witness that the trust policy names does not verify";
    ObjectMissing = "object-missing", Damage, "a recording in the archive has no object in the store";
    ObjectDamaged = "object-damaged", Damage, "an object in the store is not the one of its recording";
    FileRefused = "file-refused", Damage, "a link, a device or an oversized file stands where a file of the ledger belongs";
    EntryFormat = "entry-format", Rule, "a signed entry is not an entry";
    EntryOrder = "entry-order", Rule, "a signed entry has another number than its place";
    KeyAnnouncement = "key-announcement", Rule, "an entry announces keys wrongly";
    EpochUnclosed = "epoch-unclosed", Rule, "the closing checkpoint of an epoch is not among those kept";
    TimeFalls = "time-falls", Rule, "time falls without ledger.clock-suspect";
    EventUnknown = "event-unknown", Rule, "an event that this version does not know, or its data or detail against the rules";
    EventIncomplete = "event-incomplete", Rule, "an event lacks a column that it needs";
    RecordingUnknown = "recording-unknown", Rule, "something happened to a recording that was not in the archive";
    RecordingTwice = "recording-twice", Rule, "a recording was sealed twice";
    SessionWithoutGrant = "session-without-grant", Rule, "a session that no entry grants, or that had ended";
    SessionTwice = "session-twice", Rule, "a session was opened twice";
    HoldUnknown = "hold-unknown", Rule, "a hold was lifted that did not stand, or placed twice";
    HoldDuringPurge = "hold-during-purge", Rule, "a hold was placed on a recording whose purge was decided";
    PurgeUnderHold = "purge-under-hold", Rule, "a recording was purged under a hold";
    PurgeWithoutPlan = "purge-without-plan", Rule, "a purge that no entry decided";
    PurgeEarly = "purge-early", Rule, "a recording was purged before its earliest time";
    ObjectLeft = "object-left", Rule, "the object of a purged recording is still in the store";
    ObjectStranger = "object-stranger", Rule, "something in the store that no entry sealed";
    GrantContradiction = "grant-contradiction", Rule, "a grant was given that nobody proposed, or ended, suspended or reviewed where it did not stand";
    MandateContradiction = "mandate-contradiction", Rule, "a mandate was changed or withdrawn where it did not stand, or used after its end or outside its tasks";
    ApprovalContradiction = "approval-contradiction", Rule, "an approval was answered twice or late, or used without having been given, twice, late or for something else";
    EventOutOfPlace = "event-out-of-place", Rule, "an event stands where it cannot stand";
    OutcomeWrong = "outcome-wrong", Rule, "an entry has an outcome that its event cannot have";
    DataImplausible = "data-implausible", Rule, "an entry says what cannot be";
    SubjectDiffers = "subject-differs", Rule, "an entry names another recording or source than its session, hold or recording has";
    StartMissing = "start-missing", Rule, "the service acted without an entry that it had started";
    StartUntrue = "start-untrue", Rule, "a start says otherwise than the entries how the run before ended";
    Silence = "silence", Rule, "nothing was written for longer than the service had announced";
    PolicyDiffers = "policy-differs", Rule, "an entry names another policy than the one last loaded";
    SourceContradiction = "source-contradiction", Rule, "a source was registered twice, or changed or retired without being registered";
    SourceUnregistered = "source-unregistered", Rule, "a recording was sealed for a source that was not registered, or otherwise than registered";
    AccessWithoutPolicy = "access-without-policy", Rule, "access was granted although no policy was in force";
    AccessUnfounded = "access-unfounded", Rule, "a session was granted without a reason, or for a purpose that its source does not have";
    AccessDuringPurge = "access-during-purge", Rule, "a session was granted on a recording whose purge was decided";
    AccessUnderRestriction = "access-under-restriction", Rule, "a session was granted on a recording that a hold restricts";
    ReadPastEnd = "read-past-end", Rule, "a session read past the end of its recording";
    SessionNotEnded = "session-not-ended", Rule, "a session did not end when it had to";
    PurgeWhileSuspect = "purge-while-suspect", Rule, "a purge was decided while the clock was suspect";
    PurgeDuringSession = "purge-during-session", Rule, "a recording was purged while a session on it ran";
    CertificateDiffers = "certificate-differs", Rule, "a certificate of destruction does not match what was sealed";
    PurgedLate = "purged-late", Rule, "a recording was purged more than a day after its latest time";
    PurgeLate = "purge-late", Rule, "a recording is more than a day past its latest time and not purged";
    Rollback = "rollback", History, "a checkpoint was signed for more entries than are here";
    Fork = "fork", History, "a checkpoint was signed for other entries than these";
    BundleMissing = "bundle-missing", Incomplete, "entries are not here";
    TileMissing = "tile-missing", Incomplete, "tiles are not here";
    EpochsMissing = "epochs-missing", Incomplete, "there are no kept checkpoints, so closed epochs rest on the log key alone";
    HeadMissing = "head-missing", Incomplete, "no signed head covers the entries";
    EpochUnknown = "epoch-unknown", Incomplete, "which epoch key was in force is not known here, so its signature is not checked";
    CheckpointApart = "checkpoint-apart", Incomplete, "a checkpoint is of another size than the head of the receipt, so the two cannot be compared";
    QuorumMissing = "quorum-missing", Incomplete, "a head is not cosigned by as many witnesses as the trust policy wants";
    TailTorn = "tail-torn", Incomplete, "the tail ends in a batch without a checkpoint";
    ServiceInterrupted = "service-interrupted", Note, "the service ended without a stop, or could not write";
    LedgerRestored = "ledger-restored", Note, "the ledger was put back from a backup, and what it lost was accepted";
    ServiceUnknown = "service-unknown", Note, "no entry says when the service ran";
    PurgesPaused = "purges-paused", Note, "recordings past their latest time wait because the clock is suspect";
    HoldReviewDue = "hold-review-due", Note, "a hold stands past the time when it had to be reviewed";
    StoreDamage = "store-damage", Note, "the service itself reported that a recording or its key is damaged or gone";
    NotJudged = "not-judged", Note, "after an entry that cannot be read, conduct and epochs are not judged";
    DetailsSealed = "details-sealed", Note, "details are not here in clear";
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub code: Code,
    /// Which entry, if it is about one.
    pub entry: Option<u64>,
    /// What was found, in one sentence without its full stop.
    pub sentence: String,
}

/// Everything found, in the order found. Of each code the first `MAX_PER_CODE` are kept, the others counted.
#[derive(Debug, Clone, Default)]
pub struct Report {
    findings: Vec<Finding>,
    counts: std::collections::BTreeMap<Code, u64>,
}

/// How many findings of one code are kept: a hostile ledger must not fill the memory.
pub const MAX_PER_CODE: u64 = 100;

impl Report {
    /// Adds one finding.
    pub fn add(&mut self, code: Code, entry: impl Into<Option<u64>>, sentence: impl Into<String>) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= MAX_PER_CODE {
            self.findings.push(Finding { code, entry: entry.into(), sentence: sentence.into() });
        }
    }

    /// The findings kept, the gravest first, else as found.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.code.class());
        findings
    }
    /// How many there were of each code, kept or not.
    pub fn counts(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        self.counts.iter().map(|(code, count)| (*code, *count))
    }
    /// Whether there is one of `code`.
    pub fn has(&self, code: Code) -> bool {
        self.counts.contains_key(&code)
    }
    /// How many findings of this weight or a heavier one there were.
    pub fn count_down_to(&self, class: Class) -> u64 {
        self.counts.iter().filter(|(code, _)| code.class() <= class).map(|(_, count)| count).sum()
    }
}

/// An error and what is behind it, in one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn inv10_a_flood_of_findings_is_counted_not_kept() {
        let mut report = Report::default();
        (0..100_000).for_each(|entry| report.add(Code::ChainBroken, entry, "x"));
        report.add(Code::Rollback, None, "y");
        assert_eq!(report.findings().len(), 101);
        assert_eq!(report.count_down_to(Class::Damage), 100_000);
        assert_eq!(report.count_down_to(Class::History), 100_001);
    }
}
