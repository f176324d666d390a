//! What a backup of the keys says: lines of text, so that who opens it with `age` sees what it is.
//!
//! Holds the master key of one generation and no other key: what was destroyed in the key files stays destroyed, unless somebody also
//! kept an old copy of them. Must never leave this folder but sealed.

use std::io;

use aws_lc_rs::hmac;
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use super::master::{MASTER_KEY_BYTES, MasterKey};

const FIRST_LINE: &str = "greffier key backup 1";
/// The longest backup that is read.
pub const MAX_BACKUP_BYTES: usize = 65_536;

/// A master key with the archive and the generation that it belongs to.
pub struct KeyBackup {
    /// Name of the archive.
    pub origin: String,
    /// The generation of key files that it opens.
    pub generation: u64,
    /// The key.
    pub master: MasterKey,
}

/// Bytes that are no backup of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a backup of the keys of an archive")]
pub struct NoBackup;

impl KeyBackup {
    /// Reads an opened backup.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &[u8]) -> Result<Self, NoBackup> {
        let text = std::str::from_utf8(text).map_err(|_| NoBackup)?;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(NoBackup);
        }
        let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).ok_or(NoBackup);
        let origin = field("origin ")?.to_owned();
        let generation = field("generation ")?.parse().map_err(|_| NoBackup)?;
        let mut key = Zeroizing::new([0; MASTER_KEY_BYTES + 1]);
        let encoded = field("key ")?.as_bytes();
        if BASE64.decode_len(encoded.len()) != Ok(key.len()) {
            return Err(NoBackup);
        }
        if BASE64.decode_mut(encoded, key.as_mut_slice()) != Ok(MASTER_KEY_BYTES) || lines.next().is_some() {
            return Err(NoBackup);
        }
        let bytes: &[u8; MASTER_KEY_BYTES] = key.first_chunk().ok_or(NoBackup)?;
        Ok(Self { origin, generation, master: MasterKey::from_bytes(bytes) })
    }

    /// What this key answers in a drill.
    pub fn answer(&self) -> String {
        self.master.answer(&self.origin, self.generation)
    }
}

impl MasterKey {
    /// The backup of this key, sealed so that each of `recipients` can open it alone.
    ///
    /// # Errors
    /// As `seal_to` of the module `age`.
    #[cfg(feature = "daemon")]
    pub fn seal_backup(
        &self,
        origin: &str,
        generation: u64,
        recipients: &[super::age::AgeRecipient],
    ) -> io::Result<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(MASTER_KEY_BYTES));
        self.write_to(&mut *plain)?;
        let mut encoded = Zeroizing::new([0; 44]);
        BASE64.encode_mut(&plain, encoded.as_mut_slice());
        let head = format!("{FIRST_LINE}\norigin {origin}\ngeneration {generation}\nkey ");
        let mut text = Zeroizing::new(Vec::with_capacity(head.len() + encoded.len() + 1));
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(encoded.as_slice());
        text.push(b'\n');
        super::age::seal_to(recipients, &text)
    }

    /// A word that only this key gives for this archive and generation, and from which nobody gets the key: who shows it has opened a backup.
    pub fn answer(&self, origin: &str, generation: u64) -> String {
        let mut plain = Zeroizing::new(Vec::with_capacity(MASTER_KEY_BYTES));
        // Writing to memory that has room does not fail.
        let _written: io::Result<()> = self.write_to(&mut *plain);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &plain);
        let question = format!("greffier key backup drill\n{origin}\n{generation}\n");
        HEXLOWER.encode(hmac::sign(&key, question.as_bytes()).as_ref())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "ctl")]
    #[test]
    fn a_backup_reads_back_and_nothing_else_does() {
        use super::*;
        let master = MasterKey::generate().unwrap();
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string().parse().unwrap();
        let sealed = master.seal_backup("a.example/g", 7, &[recipient]).unwrap();
        let text = age::decrypt(&identity, &sealed).unwrap();
        let backup = KeyBackup::parse(&text).unwrap();
        assert_eq!((backup.origin.as_str(), backup.generation), ("a.example/g", 7));
        assert!(backup.master.is_same_as(&master));
        assert_eq!(backup.answer(), master.answer("a.example/g", 7));
        assert_ne!(backup.answer(), master.answer("a.example/g", 8));
        assert_ne!(backup.answer(), MasterKey::generate().unwrap().answer("a.example/g", 7));
        for length in 0..text.len() - 1 {
            assert!(KeyBackup::parse(&text[..length]).is_err(), "{length}");
        }
        assert!(KeyBackup::parse(&[text, b"more\n".to_vec()].concat()).is_err());
    }
}
