//! A checkpoint judged by a policy: who signed, who did not, and whether it is enough.

use super::super::cosignature::CosignatureError;
use super::super::note::SignedNote;
use super::{Key, Member, Octets, TrustPolicy};

/// How the log stands to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStanding {
    /// Signed by this listed log (its vkey), whose name is the origin.
    Signed(String),
    /// The policy lists no log: which one it must be, is known from elsewhere or not at all.
    NoneListed,
    /// No listed log signed it.
    Missing,
}

/// How one witness stands to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It cosigned, at this time in seconds since 1970.
    Signed(u64),
    /// There is no line of it.
    Missing,
    /// There is a line under its name and key id that does not verify.
    Bad(CosignatureError),
    /// Its key is of a type that this program cannot check, so it counts as missing.
    NotSupported(String),
}

/// One witness of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessStanding {
    /// Its name in the policy.
    pub name: Octets,
    /// How it stands.
    pub standing: Standing,
}

/// Something that the quorum still needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// A witness or a group.
    pub name: Octets,
    /// Members that have witnessed (a witness alone: 0).
    pub have: usize,
    /// Members that must (a witness alone: 1).
    pub need: usize,
}

/// What a policy says of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The log.
    pub log: LogStanding,
    /// Each witness, in the order of the policy.
    pub witnesses: Vec<WitnessStanding>,
    /// What is missing, outermost first; empty when the rule of the quorum is met.
    pub lacking: Vec<Lacking>,
    /// A line of a listed key does not verify: the whole note is to be rejected (signed-note).
    pub spoiled: bool,
}

impl Verdict {
    /// Enough witnesses cosigned, and no line of a listed key is wrong.
    #[must_use]
    pub fn quorum_reached(&self) -> bool {
        self.lacking.is_empty() && !self.spoiled
    }
    /// Valid in the sense of tlog-policy: signed by a listed log (if any is listed) and cosigned by a quorum.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.quorum_reached() && self.log != LogStanding::Missing
    }
    /// Names of the witnesses whose cosignature holds.
    pub fn signed(&self) -> impl Iterator<Item = &Octets> {
        self.witnesses.iter().filter(|it| matches!(it.standing, Standing::Signed(_))).map(|it| &it.name)
    }
    /// Names of those that count as not having signed, for whatever reason.
    pub fn missing(&self) -> impl Iterator<Item = &Octets> {
        self.witnesses.iter().filter(|it| !matches!(it.standing, Standing::Signed(_))).map(|it| &it.name)
    }
}

impl TrustPolicy {
    /// Judges a checkpoint by its signatures. That its root is that of the ledger, another must say.
    pub fn judge(&self, note: &SignedNote) -> Verdict {
        let mut spoiled = false;
        let log = self.judge_log(note, &mut spoiled);
        let witnesses: Vec<WitnessStanding> = self
            .witnesses
            .iter()
            .map(|witness| {
                let standing = match &witness.key {
                    Key::NotSupported { why, .. } => Standing::NotSupported(why.clone()),
                    Key::Supported(key) => match key.verify(note) {
                        Ok(Some(time)) => Standing::Signed(time),
                        Ok(None) => Standing::Missing,
                        Err(error) => {
                            spoiled = true;
                            Standing::Bad(error)
                        }
                    },
                };
                WitnessStanding { name: witness.name.clone(), standing }
            })
            .collect();
        let lacking = self.lacking(&witnesses);
        Verdict { log, witnesses, lacking, spoiled }
    }

    fn judge_log(&self, note: &SignedNote, spoiled: &mut bool) -> LogStanding {
        if self.logs.is_empty() {
            return LogStanding::NoneListed;
        }
        let origin = note.text().split('\n').next().unwrap_or_default();
        let mut standing = LogStanding::Missing;
        for log in &self.logs {
            let Key::Supported(key) = &log.key else { continue };
            let claimed =
                note.signatures().iter().any(|it| it.name == key.name() && it.key_id == key.key_id());
            match note.verify(key) {
                Ok(()) if key.name() == origin && standing == LogStanding::Missing => {
                    standing = LogStanding::Signed(key.to_string());
                }
                Err(_) if claimed => *spoiled = true,
                _ => {}
            }
        }
        standing
    }

    /// What the quorum lacks: the members that have not witnessed, and theirs, as far as they could help.
    fn lacking(&self, witnesses: &[WitnessStanding]) -> Vec<Lacking> {
        // A group names only what stands before it, so one pass in order of the file settles all.
        let signed =
            |at: usize| matches!(witnesses.get(at), Some(it) if matches!(it.standing, Standing::Signed(_)));
        let mut have: Vec<usize> = Vec::new();
        for group in &self.groups {
            let counts = |member: &&Member| match **member {
                Member::Witness(at) => signed(at),
                Member::Group(at) => self.is_met(at, &have),
            };
            have.push(group.members.iter().filter(counts).count());
        }
        let mut lacking = Vec::new();
        let mut open: Vec<Member> = self.quorum.into_iter().collect();
        // Each name is a member once at most, so each is met once at most.
        while let Some(member) = open.pop() {
            match member {
                Member::Witness(at) if !signed(at) => {
                    let name = self.witnesses.get(at).map(|it| it.name.clone());
                    lacking.extend(name.map(|name| Lacking { name, have: 0, need: 1 }));
                }
                Member::Group(at) if !self.is_met(at, &have) => {
                    let Some(group) = self.groups.get(at) else { continue };
                    let have = have.get(at).copied().unwrap_or_default();
                    lacking.push(Lacking { name: group.name.clone(), have, need: group.needed });
                    open.extend(group.members.iter().rev());
                }
                _ => {}
            }
        }
        lacking
    }

    fn is_met(&self, group: usize, have: &[usize]) -> bool {
        self.groups.get(group).zip(have.get(group)).is_some_and(|(group, have)| *have >= group.needed)
    }
}
