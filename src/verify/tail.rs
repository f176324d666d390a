//! The tail of a live ledger: the entries after the last full bundle, the head that stands there, and bundles that are already
//! filed although the tail still has them.

use super::details::Places;
use super::findings::{Code, sentence};
use super::ledger::Failure;
use super::source::{Bundle, Loaded, Reader, Sealed};
use super::tiles::Tile;
use super::walk::Walk;
use crate::core::ledger::checkpoint::Checkpoint;
use crate::core::ledger::note::VerifierKey;
use crate::core::ledger::tail::{
    FrameKind, HEADER_BYTES, RecoveredEntry, TailError, TailHeader, log_id, recover, scan,
};
use crate::core::ledger::tile::{FULL, FULL_U64, entries_path, tile_path};

/// The header, if it is one of this ledger.
pub fn read_header(tail: &[u8], key: &VerifierKey) -> Result<TailHeader, String> {
    let header = TailHeader::decode(tail).map_err(|error| format!("tail: {error}"))?;
    if header.log_id != log_id(key) {
        return Err("tail: it belongs to another ledger than the key".into());
    }
    if header.base.size() % FULL_U64 != 0 {
        return Err("tail: its header does not begin at a full bundle".into());
    }
    Ok(header)
}

/// The entries after the last full bundle, and the live head.
pub fn check_tail(
    walk: &mut Walk,
    tail: &[u8],
    header: &TailHeader,
    reader: &Reader,
) -> Result<Option<(Checkpoint, String)>, Failure> {
    if header.base.root() != walk.tree.root() || header.prev != walk.prev {
        walk.report.add(
            Code::TailDamaged,
            None,
            "tail: its header continues other entries than those of the bundles",
        );
        return Ok(None);
    }
    let recovered = match recover(tail, &walk.epochs, 0) {
        Ok(recovered) => recovered,
        Err(error) => {
            report_tail(walk, tail, header, &error);
            // What stands before the damage is checked all the same.
            let sound = error.offset().and_then(|offset| tail.get(..usize::try_from(offset).ok()?));
            match sound.map(|sound| recover(sound, &walk.epochs, 0)) {
                Some(Ok(recovered)) => recovered,
                _ => return Ok(None),
            }
        }
    };
    let next = header.base.size() + recovered.entries.len() as u64;
    if recovered.dropped_bytes > 0 && !walk.report.has(Code::TailDamaged) {
        let sentence =
            format!("the tail ends in {} bytes that no checkpoint covers", recovered.dropped_bytes);
        walk.report.add(Code::TailTorn, next, sentence);
    }
    for (first, entries) in (header.base.size()..).step_by(FULL).zip(recovered.entries.chunks(FULL)) {
        let bundle = bundle_of(first, entries);
        if entries.len() == FULL {
            compare_filed(walk, &bundle, reader)?;
        }
        walk.bundle(bundle, None, None)?;
    }
    Ok(recovered.head.map(|(head, text)| (head, text.to_owned())))
}

/// Names the entry that is damaged, not the offset alone.
fn report_tail(walk: &mut Walk, tail: &[u8], header: &TailHeader, error: &TailError) {
    let Some(offset) = error.offset() else {
        return walk.report.add(Code::TailDamaged, None, sentence(error));
    };
    let before = scan(tail, header.tail_number, HEADER_BYTES).take_while(|frame| frame.offset < offset);
    let entries = before.filter(|frame| frame.kind == FrameKind::Entry).count() as u64;
    let next = header.base.size() + entries;
    if walk.blind_from.is_some() && matches!(error, TailError::Signature { .. } | TailError::Epoch { .. }) {
        let sentence =
            "the tail could not be checked: its epoch key may stand in an entry that cannot be read";
        return walk.report.add(Code::HeadMissing, next, sentence);
    }
    let kind = usize::try_from(offset).ok().and_then(|offset| tail.get(offset)).copied();
    let of_entry_before =
        [FrameKind::Detail, FrameKind::Checkpoint].map(|kind| Some(kind.code())).contains(&kind);
    let entry = if of_entry_before { next.saturating_sub(1) } else { next };
    walk.report.add(Code::TailDamaged, entry, sentence(error));
}

/// The same entries, as if they stood in a file.
fn bundle_of(first: u64, entries: &[RecoveredEntry<'_>]) -> Bundle {
    let mut sealed = Places::default();
    entries.iter().filter(|entry| entry.detail.is_some()).for_each(|entry| sealed.set(entry.seq));
    Bundle::of_lines(first, entries.iter().map(|entry| entry.line), sealed)
}

/// A bundle is filed before the tail without it takes the place of the tail: what is there already must agree.
fn compare_filed(walk: &mut Walk, bundle: &Bundle, reader: &Reader) -> Result<(), Failure> {
    let n = bundle.first / FULL_U64;
    let filed = match reader.load_beside(n)? {
        None | Some(Loaded::Missing(_)) => return Ok(()),
        Some(Loaded::Refused(why)) => {
            walk.report.add(Code::FileRefused, bundle.first, why);
            return Ok(());
        }
        Some(Loaded::Bundle(filed)) => filed,
    };
    let differs = |place: &usize| bundle.entry(*place) != filed.entry(*place);
    if let Some((_, seq)) = (0..FULL).zip(bundle.first..).find(|(place, _)| differs(place)) {
        let sentence =
            format!("{} has other bytes for it than the tail, where they are signed", entries_path(n, None));
        walk.report.add(Code::EntryDamaged, seq, sentence);
    } else if filed.excess {
        walk.report.add(
            Code::BundleDamaged,
            bundle.first + FULL_U64 - 1,
            "its bundle goes on after its last entry",
        );
    }
    match &filed.tile {
        Some(Tile::Bad(sentence)) => walk.report.add(Code::TileDamaged, bundle.first, sentence.as_str()),
        Some(Tile::Hashes(hashes)) => {
            let differs =
                |place: &usize| bundle.entry(*place).map(|(_, leaf)| leaf) != hashes.get(*place).copied();
            if let Some((_, seq)) = (0..FULL).zip(bundle.first..).find(|(place, _)| differs(place)) {
                let path = tile_path(0, n, None);
                walk.report.add(
                    Code::TileDamaged,
                    seq,
                    format!("{path} has another hash for it; the entry itself is good"),
                );
            }
        }
        Some(Tile::Missing) | None => {}
    }
    if let Sealed::Bad(sentence) = &filed.sealed {
        walk.report.add(Code::DetailDamaged, bundle.first, sentence.as_str());
    }
    Ok(())
}
