//! A tail of any bytes: header, frames, recovery. Never a panic; frames read are frames written; never an entry that no signed
//! checkpoint covers, and of a signed tail that was altered nothing but what was signed.
#![no_main]

mod signed;

use std::sync::LazyLock;

use greffier::core::ledger::epoch::EpochKeys;
use greffier::core::ledger::hash::empty_hash;
use greffier::core::ledger::tail::{
    FrameKind, HEADER_BYTES, Stop, TailHeader, encode_frame, log_id, recover, scan,
};
use greffier::core::ledger::tree::Frontier;

const KINDS: [FrameKind; 3] = [FrameKind::Entry, FrameKind::Detail, FrameKind::Checkpoint];

struct Good {
    ledger: signed::Signed,
    epochs: EpochKeys,
    header: Vec<u8>,
    tail: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let ledger = signed::ledger();
    let id = log_id(&ledger.log_key);
    let header = TailHeader { log_id: id, tail_number: 1, prev: empty_hash(), base: Frontier::new() };
    let header = header.encode().to_vec();
    let mut tail = header.clone();
    for line in &ledger.lines {
        append(&mut tail, FrameKind::Entry, line);
    }
    append(&mut tail, FrameKind::Checkpoint, ledger.head.as_bytes());
    Good { epochs: EpochKeys::new(ledger.log_key.clone()), ledger, header, tail }
});

fn append(file: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) {
    let offset = file.len() as u64;
    encode_frame(file, 1, offset, kind, payload).expect("it is short");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let good = &*GOOD;
    let Some((mode, bytes)) = bytes.split_first() else { return };
    match mode % 4 {
        // Any file.
        0 => drop(recover(bytes, &good.epochs, 0)),
        // Any bytes behind a right header.
        1 => {
            let mut file = good.header.clone();
            file.extend_from_slice(bytes);
            unsigned(&file);
        }
        // Any payloads in right frames: up to 255 bytes each, after their type and length.
        2 => {
            let mut file = good.header.clone();
            let mut rest = bytes;
            let mut written = 0;
            while let [kind, length, after @ ..] = rest {
                let (payload, after) = after.split_at(after.len().min(usize::from(*length)));
                append(&mut file, KINDS[usize::from(*kind) % 3], payload);
                written += 1;
                rest = after;
            }
            assert_eq!(scan(&file, 1, HEADER_BYTES).count(), written);
            unsigned(&file);
        }
        // A signed tail with some bytes changed: offset from the first frame on (u16), and what is added to the byte.
        _ => {
            let mut file = good.tail.clone();
            for edit in bytes.chunks_exact(3).take(8) {
                let at = HEADER_BYTES + usize::from(u16::from_le_bytes([edit[0], edit[1]]));
                if let Some(byte) = file.get_mut(at) {
                    *byte = byte.wrapping_add(edit[2]);
                }
            }
            if file == good.tail {
                return;
            }
            if let Ok(recovered) = recover(&file, &good.epochs, 0) {
                assert!(recovered.entries.is_empty(), "one batch, and it was altered");
                assert!(recovered.dropped_bytes > 0, "what was altered is named");
            }
        }
    }
});

/// No key signed anything of `file`; and the frames in it are those that were written.
fn unsigned(file: &[u8]) {
    let good = &*GOOD;
    let mut again = file[..HEADER_BYTES].to_vec();
    let mut frames = scan(file, 1, HEADER_BYTES);
    for frame in &mut frames {
        assert_eq!(frame.offset, again.len() as u64);
        append(&mut again, frame.kind, frame.payload);
    }
    assert!(file.starts_with(&again));
    let (Some(Stop::End { offset }) | Some(Stop::Damaged { offset, .. })) = frames.stop() else {
        panic!("the frames end for a reason")
    };
    assert_eq!(offset, again.len() as u64);
    if let Ok(recovered) = recover(file, &good.epochs, 0) {
        // A fuzzer that copies the signed batch from the corpus has found nothing.
        let signed = recovered.entries.iter().map(|entry| entry.line).eq(good.ledger.lines.iter());
        assert!(recovered.entries.is_empty() || signed, "no key signed this");
    }
}
