//! Witnesses: whether a head is cosigned as the trust policy that the auditor brings wants it.
//!
//! A line of somebody that the policy does not name is passed over: anybody can add one. Must never count it.

use super::findings::{Code, Report, sentence};
use super::ledger::Failure;
use crate::core::ledger::note::SignedNote;
use crate::core::ledger::trust::{LogStanding, Standing, TrustPolicy};

/// The policy in the file `name`. One that cannot be read is the user's mistake.
pub fn read_policy(name: &str, text: &str) -> Result<TrustPolicy, Failure> {
    TrustPolicy::parse(text.as_bytes())
        .map_err(|error| Failure::Usage(format!("{name} is no trust policy: {}", sentence(&error))))
}

/// Judges the signed head `text`, which sentences call `name`; what is no note is reported by whoever reads it.
pub fn judge(policy: &TrustPolicy, name: &str, text: &str, report: &mut Report) {
    let Ok(note) = SignedNote::parse(text) else { return };
    let verdict = policy.judge(&note);
    for witness in &verdict.witnesses {
        if let Standing::Bad(error) = &witness.standing {
            let sentence = format!("{name}: witness {}: {}", witness.name, sentence(error));
            report.add(Code::CosignatureBad, None, sentence);
        }
    }
    if verdict.log == LogStanding::Missing {
        let sentence = format!("{name}: no log that the policy lists signed it");
        report.add(Code::QuorumMissing, None, sentence);
    }
    if !verdict.lacking.is_empty() {
        let lacking: Vec<String> = verdict
            .lacking
            .iter()
            .map(|lacking| format!("{} ({} of {})", lacking.name, lacking.have, lacking.need))
            .collect();
        report.add(Code::QuorumMissing, None, format!("{name}: the quorum lacks {}", lacking.join(", ")));
    }
}
