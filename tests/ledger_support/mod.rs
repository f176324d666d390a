//! A small ledger in memory, signed with test keys, that the tests of the ledger and of the verifier build, damage and read.
//!
//! Owns no rule: it writes what it is told, also what the daemon never would.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "a few hundred entries")]
#![allow(missing_docs, reason = "read where it is used")]
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod story;
pub mod witness;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use greffier::core::ids::Digest;
use greffier::core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use greffier::core::ledger::details::encode_details;
use greffier::core::ledger::entry::{Entry, Outcome};
use greffier::core::ledger::hash::{Hash, detail_commitment, empty_hash, leaf_hash};
use greffier::core::ledger::note::VerifierKey;
use greffier::core::ledger::tail::{FrameKind, HEADER_BYTES, TailHeader, encode_frame, log_id};
use greffier::core::ledger::tile::{
    FULL_U64, details_path, encode_bundle, encode_tile, entries_path, partial_width, tile_path,
    tiles_completed_by,
};
use greffier::core::ledger::tree::{Frontier, root_of};
use greffier::core::time::{BootId, Timestamp};
use greffier::verify::Files;

use serde_json::value::RawValue;

pub const ORIGIN: &str = "example.org/greffier";
/// 2026-05-12T10:00:00Z.
pub const START_MICROS: i64 = 1_778_580_000_000_000;

pub struct Key {
    pub private: SigningKey,
    pub public: VerifierKey,
}

impl Key {
    pub fn new(seed: u8) -> Self {
        let private = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::new(ORIGIN, private.verifying_key().as_bytes()).unwrap();
        Self { private, public }
    }
}

/// A ledger that grows; every method appends.
pub struct Site {
    pub log: Key,
    pub epoch: Key,
    next_epoch: u8,
    pub lines: Vec<Vec<u8>>,
    pub leaves: Vec<Hash>,
    /// Detail lines, with the entry that each belongs to.
    pub details: Vec<(u64, String)>,
    /// Signed heads kept for ever: `checkpoints/<size>`.
    pub kept: Vec<(u64, String)>,
    pub time_micros: i64,
    /// What every entry names as the policy in force.
    pub policy: Option<Digest>,
    /// When the last recording was sealed.
    pub sealed_micros: i64,
}

impl Site {
    /// With entry 0, `ledger.created`.
    pub fn new() -> Self {
        let (log, epoch) = (Key::new(1), Key::new(2));
        let mut site = Self {
            log,
            epoch,
            next_epoch: 3,
            lines: Vec::new(),
            leaves: Vec::new(),
            details: Vec::new(),
            kept: Vec::new(),
            time_micros: START_MICROS,
            policy: None,
            sealed_micros: START_MICROS,
        };
        let data = format!(
            r#"{{"origin":"{ORIGIN}","log_key":"{}","epoch_key":"{}"}}"#,
            site.log.public, site.epoch.public
        );
        site.add("ledger.created", |entry| entry.data = raw(&data));
        site
    }

    pub fn size(&self) -> u64 {
        self.lines.len() as u64
    }

    pub fn vkey(&self) -> String {
        self.log.public.to_string()
    }

    /// Appends one entry, a second after the one before; `change` sets what the event needs. Gives its number.
    pub fn add(&mut self, event: &str, change: impl FnOnce(&mut Entry<'_>)) -> u64 {
        self.time_micros += 1_000_000;
        let seq = self.size();
        let mut entry = Entry {
            seq,
            time: Timestamp::from_micros(self.time_micros).unwrap(),
            boot: BootId::from_bytes([7; 16]),
            up_micros: (self.time_micros - START_MICROS) as u64,
            prev: self.leaves.last().copied().unwrap_or_else(empty_hash),
            event: Cow::Owned(event.to_owned()),
            outcome: Outcome::Done,
            recording: None,
            source: None,
            session: None,
            purpose: None,
            reason: None,
            policy: self.policy,
            data: None,
            detail: None,
        };
        change(&mut entry);
        let line = entry.to_line().unwrap();
        self.push_line(line);
        seq
    }

    /// Appends one entry that commits to a detail.
    pub fn add_with_detail(&mut self, event: &str, text: &str, change: impl FnOnce(&mut Entry<'_>)) -> u64 {
        let seq = self.size();
        let detail = format!(r#"{{"seq":{seq},"salt":"AAAAAAAAAAAAAAAAAAAAAA==","text":"{text}"}}"#);
        let commitment = detail_commitment(detail.as_bytes());
        self.details.push((seq, detail));
        self.add(event, |entry| {
            entry.detail = Some(commitment);
            change(entry);
        })
    }

    /// Appends bytes as they are, though they may be no entry.
    pub fn push_line(&mut self, line: Vec<u8>) {
        self.leaves.push(leaf_hash(&line));
        self.lines.push(line);
    }

    /// `ledger.rekeyed`, and its closing head, signed by the old key, into `checkpoints/`.
    pub fn rekey(&mut self) -> u64 {
        let new = Key::new(self.next_epoch);
        self.next_epoch += 1;
        let data = format!(r#"{{"epoch_key":"{}"}}"#, new.public);
        let seq = self.add("ledger.rekeyed", |entry| entry.data = raw(&data));
        self.kept.push((self.size(), self.head()));
        self.epoch = new;
        seq
    }

    pub fn root_at(&self, size: u64) -> Hash {
        root_of(&self.leaves[..size as usize])
    }

    /// The signed head of the first `size` entries, by the epoch key of now.
    pub fn head_at(&self, size: u64) -> String {
        self.sign(&Checkpoint { origin: ORIGIN.into(), size, root: self.root_at(size) })
    }

    pub fn head(&self) -> String {
        self.head_at(self.size())
    }

    /// As a key that the caller chooses.
    pub fn with_epoch<T>(&mut self, key: Key, act: impl FnOnce(&Self) -> T) -> T {
        let own = std::mem::replace(&mut self.epoch, key);
        let done = act(self);
        self.epoch = own;
        done
    }

    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let sign = |key: &Key| key.private.sign(checkpoint.body().as_bytes()).to_bytes();
        SignedCheckpoint::assemble(
            checkpoint,
            &self.log.public,
            &sign(&self.log),
            &self.epoch.public,
            &sign(&self.epoch),
        )
    }

    /// A fresh tail that continues after `base` entries: its header only.
    pub fn tail_header(&self, base: u64, tail_number: u64) -> Vec<u8> {
        let mut frontier = Frontier::new();
        self.leaves.iter().take(base as usize).for_each(|leaf| frontier.push(*leaf));
        let prev = self.leaves[..base as usize].last().copied().unwrap_or_else(empty_hash);
        let header = TailHeader { log_id: log_id(&self.log.public), tail_number, prev, base: frontier };
        header.encode().to_vec()
    }

    /// Appends the entries from `from` on, each with a detail frame where it has one, and the head of now.
    pub fn append_batch(&self, tail: &mut Vec<u8>, tail_number: u64, from: u64) {
        for (seq, line) in (0_u64..).zip(&self.lines).skip(from as usize) {
            append(tail, tail_number, FrameKind::Entry, line);
            if let Some((_, detail)) = self.details.iter().find(|(of, _)| *of == seq) {
                // Stands for the encrypted bytes: recovery never looks into them.
                append(tail, tail_number, FrameKind::Detail, detail.as_bytes());
            }
        }
        append(tail, tail_number, FrameKind::Checkpoint, self.head().as_bytes());
    }

    /// Writes full bundles, full tiles and kept heads: what the live ledger and an export have in common.
    fn write_full(&self, dir: &Path) {
        for (n, lines) in (0_u64..).zip(self.lines.chunks(256)) {
            if lines.len() < 256 {
                continue;
            }
            write(dir, &entries_path(n, None), &encode_bundle(lines).unwrap());
            for (level, n) in tiles_completed_by(n) {
                write(dir, &tile_path(level, n, None), &self.tile(level, n));
            }
        }
        for (size, head) in &self.kept {
            write(dir, &format!("checkpoints/{size}"), head.as_bytes());
        }
    }

    /// An export: with partial bundle and tiles, the head, and the details in clear if asked for.
    pub fn export(&self, dir: &Path, with_details: bool) {
        self.write_full(dir);
        let size = self.size();
        if let Some(width) = partial_width(0, size) {
            let n = size / FULL_U64;
            let lines = &self.lines[n as usize * 256..];
            write(dir, &entries_path(n, Some(width)), &encode_bundle(lines).unwrap());
        }
        for level in 0..8_u8 {
            if let Some(width) = partial_width(level, size) {
                let n = (size >> (8 * u32::from(level))) / FULL_U64;
                write(dir, &tile_path(level, n, Some(width)), &self.tile(level, n));
            }
        }
        write(dir, "checkpoint", self.head().as_bytes());
        if with_details {
            let details: String = self.details.iter().map(|(_, line)| format!("{line}\n")).collect();
            write(dir, "details.jsonl", details.as_bytes());
        }
    }

    /// The live folder: full files and the tail, in one batch.
    pub fn live(&self, dir: &Path) {
        self.live_from(dir, self.size() / FULL_U64 * FULL_U64);
    }

    /// The same with a tail that begins at `base`, a multiple of 256: full bundles behind it are filed and in the tail.
    pub fn live_from(&self, dir: &Path, base: u64) {
        self.write_full(dir);
        for n in 0..self.size() / FULL_U64 {
            let detail =
                |seq| self.details.iter().find(|(of, _)| *of == seq).map(|(_, text)| text.as_bytes());
            let details: Vec<_> = (n * FULL_U64..(n + 1) * FULL_U64).map(detail).collect();
            write(dir, &details_path(n), &encode_details(&details).unwrap());
        }
        let mut tail = self.tail_header(base, 5);
        self.append_batch(&mut tail, 5, base);
        tail.resize(tail.len() + 4096, 0);
        write(dir, "tail", &tail);
    }

    fn tile(&self, level: u8, n: u64) -> Vec<u8> {
        let span = 256_usize.pow(u32::from(level));
        let from = n as usize * 256 * span;
        let hashes: Vec<Hash> = self.leaves[from..].chunks_exact(span).take(256).map(root_of).collect();
        encode_tile(&hashes).unwrap()
    }
}

/// The files of a folder, by their paths below it: what the verifier reads from memory.
pub fn files_of(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap().into());
            }
        }
    }
    files
}

pub fn raw(text: &str) -> Option<Cow<'static, RawValue>> {
    Some(Cow::Owned(RawValue::from_string(text.to_owned()).unwrap()))
}

pub fn append(tail: &mut Vec<u8>, tail_number: u64, kind: FrameKind, payload: &[u8]) {
    assert!(tail.len() >= HEADER_BYTES);
    let offset = tail.len() as u64;
    encode_frame(tail, tail_number, offset, kind, payload).unwrap();
}

pub fn write(dir: &Path, path: &str, bytes: &[u8]) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}
