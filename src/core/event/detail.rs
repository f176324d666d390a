//! The detail: the personal, erasable part of an entry.
//!
//! Owns its keys and the canonical line `{"seq":…,"salt":…,…}` (design §5). What a caller typed stands here and nowhere
//! else. It is bounded: a detail line has at most [`Detail::MAX_BYTES`].

use serde::{Deserialize, Serialize};

/// Who acted, as seen by the daemon. Only `uid` decides anything (design §7); the rest is evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// User id, from the bus daemon.
    pub uid: u32,
    /// Account name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Process id, as reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Audit login uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Audit login session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_session: Option<u32>,
    /// systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Unique bus name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_name: Option<String>,
    /// Whether the process could be tied to the bus name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Another person whom an entry is about: uid and account name, as they were then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// User id.
    pub uid: u32,
    /// Account name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Who {
    /// This person, without the evidence of one moment.
    pub fn party(&self) -> Party {
        Party { uid: self.uid, user: self.user.clone() }
    }
}

/// What the evidence about a process is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// The process lived, under the same bus name, while it was looked at.
    Confirmed,
    /// It had gone, or could not be looked at.
    Unconfirmed,
}

/// The personal part of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// The entry it belongs to. Set by the writer.
    pub seq: u64,
    /// 16 random bytes, base64, so that the commitment cannot be guessed. Set by the writer.
    pub salt: String,
    /// Who acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What was asked for, when it is not an identifier known to the policy: an id, a source, a reason, as typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Case reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Name of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The person recorded, as the recorder names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Ground of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<String>,
    /// Reference of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The text of a grant: its keys as the policy writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The rule of the policy that an entry about a grant means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_rule: Option<String>,
    /// The account that a grant or a mandate is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client who gives a mandate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Why the access under a mandate is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub necessity: Option<String>,
    /// When the person whom a mandate is about was informed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub informed_on: Option<String>,
    /// Reference of the consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// Who proposed a grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposer: Option<Party>,
    /// Who approved, as a second person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<Party>,
    /// Executables that read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// The files of a policy: relative name and text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<(String, String)>,
    /// What was wrong with a policy or a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// A detail that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DetailError {
    /// Longer than [`Detail::MAX_BYTES`].
    #[error("the detail of entry {seq} has {bytes} bytes; at most {} are kept", Detail::MAX_BYTES)]
    TooLong {
        /// Which entry.
        seq: u64,
        /// Its size.
        bytes: usize,
    },
    /// Not the JSON of a detail.
    #[error("the detail is not a detail line")]
    Json(#[from] serde_json::Error),
}

impl Detail {
    /// The longest detail line, in bytes: room for a policy of 1 MiB written as JSON.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;
    /// What a caller may type into one field, in bytes.
    pub const MAX_TEXT_BYTES: usize = 4096;

    /// The detail of an act of `who`.
    pub fn by(who: Who) -> Self {
        Self { who: Some(who), ..Self::default() }
    }

    /// The canonical line of this detail as that of entry `seq`.
    pub fn to_line(&self, seq: u64, salt: &[u8; 16]) -> Result<Vec<u8>, DetailError> {
        self.clone().line_as(seq, salt)
    }

    /// The same without a copy of it.
    pub fn line_as(&mut self, seq: u64, salt: &[u8; 16]) -> Result<Vec<u8>, DetailError> {
        self.seq = seq;
        self.salt = data_encoding::BASE64.encode(salt);
        let mut line = Vec::with_capacity(512);
        serde_json::to_writer(&mut line, self)?;
        if line.len() > Self::MAX_BYTES {
            return Err(DetailError::TooLong { seq, bytes: line.len() });
        }
        Ok(line)
    }

    /// Reads a detail line.
    pub fn parse(line: &[u8]) -> Result<Self, DetailError> {
        if line.len() > Self::MAX_BYTES {
            return Err(DetailError::TooLong { seq: 0, bytes: line.len() });
        }
        Ok(serde_json::from_slice(line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_begins_with_seq_and_salt() {
        let detail =
            Detail { text: Some("a \"word\"".into()), ..Detail::by(Who { uid: 5, ..Who::default() }) };
        let line = detail.to_line(7, &[0; 16]).unwrap();
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.starts_with(r#"{"seq":7,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","who":{"uid":5}"#), "{text}");
        assert_eq!(Detail::parse(&line).unwrap().text.as_deref(), Some("a \"word\""));
    }

    #[test]
    fn inv10_a_long_detail_is_refused_not_cut() {
        let detail = Detail { text: Some("x".repeat(Detail::MAX_BYTES)), ..Detail::default() };
        assert!(matches!(detail.to_line(0, &[0; 16]), Err(DetailError::TooLong { .. })));
    }
}
