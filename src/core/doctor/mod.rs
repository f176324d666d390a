//! What can be wrong with an archive around the ledger: from facts to findings, each with what to do.
//!
//! Owns the codes, which `greffierctl(1)` lists, and their severities. Must never look at the machine: what was not looked at
//! is `None` in the facts, and is never judged as sound.

mod facts;
mod judge_places;
mod judge_secrets;
mod judge_system;
#[cfg(test)]
mod tests;

pub use facts::{
    BusPolicy, Facts, KeyFacts, LedgerFacts, Node, NodeKind, PlaceFacts, Role, Secret, SystemFacts, UnitFacts,
};
pub use judge_system::weakens;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work or is not safe: the exit code is 1.
    Must,
    /// It works, and less is promised than could be.
    Should,
    /// To know.
    Note,
}

impl Severity {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Note => "note",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for programs.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a path, a unit.
    pub to: String,
    /// What was found.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// Every code with its severity, in the order of the manual page.
pub const CODES: &[(&str, Severity)] = &[
    ("not-initialised", Severity::Must),
    ("format-newer", Severity::Must),
    ("state-unusable", Severity::Must),
    ("missing", Severity::Must),
    ("wrong-kind", Severity::Must),
    ("wrong-owner", Severity::Must),
    ("exposed", Severity::Must),
    ("writable-by-others", Severity::Must),
    ("spool-mode", Severity::Must),
    ("spool-clear", Severity::Should),
    ("medium-not-in-place", Severity::Should),
    ("space-low", Severity::Should),
    ("space-short", Severity::Must),
    ("key-copy-missing", Severity::Must),
    ("key-copy-bad", Severity::Should),
    ("key-damaged", Severity::Must),
    ("rotation-unfinished", Severity::Should),
    ("key-plain", Severity::Note),
    ("key-exposed", Severity::Must),
    ("credential-missing", Severity::Must),
    ("ledger-unusable", Severity::Must),
    ("recordings-damaged", Severity::Must),
    ("second-missing", Severity::Note),
    ("second-behind", Severity::Should),
    ("second-same-disk", Severity::Note),
    ("catalogue-anew", Severity::Note),
    ("clock-unsynchronised", Severity::Should),
    ("clock-behind", Severity::Must),
    ("clock-suspect", Severity::Should),
    ("bus-policy-missing", Severity::Must),
    ("bus-policy-differs", Severity::Should),
    ("polkit-absent", Severity::Note),
    ("polkit-actions-missing", Severity::Should),
    ("polkit-actions-differ", Severity::Should),
    ("no-systemd", Severity::Note),
    ("unit-missing", Severity::Should),
    ("unit-differs", Severity::Should),
    ("unit-weakened", Severity::Should),
    ("unit-not-enabled", Severity::Should),
    ("fuse-missing", Severity::Must),
    ("swap-clear", Severity::Should),
    ("core-dumps", Severity::Note),
    ("service-degraded", Severity::Should),
    ("service-closed", Severity::Must),
    ("not-looked-at", Severity::Note),
];

/// Where findings gather.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(
        &mut self,
        code: &'static str,
        to: impl Into<String>,
        what: impl Into<String>,
        next: impl Into<String>,
    ) {
        // A code that is not listed would be a mistake of ours; it is shown all the same.
        let severity = CODES.iter().find(|(listed, _)| *listed == code).map_or(Severity::Must, |it| it.1);
        self.0.push(Finding { code, severity, to: to.into(), what: what.into(), next: next.into() });
    }
}

/// All that is wrong, worst first; within a severity in the order of looking.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Found::default();
    judge_places::judge(facts, &mut found);
    judge_secrets::judge(facts, &mut found);
    judge_system::judge(facts, &mut found);
    for (what, why) in &facts.not_looked_at {
        found.add(
            "not-looked-at",
            what.as_str(),
            why.as_str(),
            "stop greffierd, or run this as root, and try again",
        );
    }
    found.0.sort_by_key(|finding| finding.severity);
    found.0
}
