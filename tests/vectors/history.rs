//! Other histories under good signatures: somebody who holds the keys of today rewrites, cuts or replays.

use greffier::core::ledger::checkpoint::Checkpoint;
use greffier::core::ledger::entry::Entry;
use greffier::core::ledger::hash::leaf_hash;

use super::ledger_support::{Key, ORIGIN, Site};
use super::life::{at, confirm, day, fact, life, long_life};
use super::vector::Vector;

/// Changes the entries and gives each after it its number and `prev` again; kept heads and details stay as they are.
pub fn rewrite(site: &mut Site, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut lines = std::mem::take(&mut site.lines);
    site.leaves.clear();
    change(&mut lines);
    for line in lines {
        let mut entry = Entry::parse(&line).unwrap().into_owned();
        entry.seq = site.size();
        entry.prev = site.leaves.last().copied().unwrap_or(entry.prev);
        site.push_line(entry.to_line().unwrap());
    }
}

/// The reason of an entry becomes another.
fn other_reason(line: &mut Vec<u8>) {
    let mut entry = Entry::parse(line).unwrap().into_owned();
    entry.reason = "accident".parse().ok();
    let text = entry.to_line().unwrap();
    *line = text;
}

pub fn all() -> Vec<Vector> {
    let site = life();
    let mut all = vec![chain_right_tree_wrong(), tree_right_chain_wrong()];

    let mut changed = life();
    rewrite(&mut changed, |lines| other_reason(&mut lines[at::OPENED as usize]));
    all.push(
        Vector::of("rewritten", "a closed epoch is written anew and signed with the keys of today", &changed)
            .finds(&[("fork", Some(at::REKEYED))]),
    );
    let resigned = changed.head_at(at::REKEYED + 1);
    all.push(
        Vector::of(
            "rewritten-and-closed-anew",
            "a closed epoch is written anew, and its closing checkpoint signed with the key of today",
            &changed,
        )
        .with("checkpoints/16", resigned)
        .finds(&[("checkpoint-damaged", Some(at::REKEYED))]),
    );
    let mut removed = life();
    rewrite(&mut removed, |lines| drop(lines.remove(at::PROGRESS as usize)));
    removed.details.retain(|(seq, _)| *seq < at::PROGRESS);
    all.push(
        Vector::of(
            "rewritten-without-an-entry",
            "an entry is left out, and all after it signed anew",
            &removed,
        )
        .finds(&[
            ("checkpoint-damaged", Some(at::REKEYED)),
            ("epoch-unclosed", Some(at::REKEYED - 1)),
            ("detail-missing", Some(at::CLOSED)),
        ]),
    );

    // After the last kept head only a checkpoint that somebody brings can tell.
    let mut forked = life();
    let mine = {
        let mut mine = life();
        confirm(&mut mine);
        mine.head()
    };
    fact(&mut forked, "ledger.started", r#"{"version":"0.1.0"}"#);
    all.push(
        Vector::of(
            "forked",
            "two ledgers that parted after the last kept checkpoint; the other one was seen",
            &forked,
        )
        .pinned(&mine)
        .finds(&[("fork", Some(at::SIZE))]),
    );
    all.push(
        Vector::of("forked-kept", "a kept checkpoint is of another history", &forked)
            .with("checkpoints/20", mine.as_bytes())
            .finds(&[("fork", Some(at::SIZE))]),
    );
    all.push(
        Vector::of(
            "rolled-back",
            "a copy of yesterday, complete and well signed; today's head was seen",
            &day(),
        )
        .pinned(&site.head())
        .finds(&[("rollback", Some(at::STOPPED + 1))]),
    );
    let mut cut = life();
    cut.lines.truncate(at::PURGED as usize);
    cut.leaves.truncate(at::PURGED as usize);
    all.push(
        Vector::of(
            "cut-and-signed-anew",
            "the last entries are cut off and the rest signed anew; the head was seen",
            &cut,
        )
        .pinned(&site.head())
        .finds(&[("rollback", Some(at::PURGED))]),
    );
    all.push(
        Vector::of(
            "old-head-replayed",
            "the head of the first day beside the kept checkpoints of the second",
            &day(),
        )
        .with("checkpoints/16", site.kept[1].1.as_bytes())
        .finds(&[("rollback", Some(at::STOPPED + 1))]),
    );
    all.push(
        Vector::of("old-head-newer-files", "the head of the first day over the files of the second", &site)
            .with("checkpoint", day().head())
            .lacks(&[("bundle-missing", Some(0))]),
    );
    all.push(
        Vector::live("rolled-back-live", "a ledger folder of yesterday; today's head was seen", &day())
            .pinned(&site.head())
            .finds(&[("rollback", Some(at::STOPPED + 1))]),
    );
    let long = long_life();
    all.push(
        Vector::of("rolled-back-long", "back to a full bundle; a later head was seen", &{
            let mut back = long_life();
            back.lines.truncate(256);
            back.leaves.truncate(256);
            back
        })
        .pinned(&long.head())
        .finds(&[("rollback", Some(256))]),
    );
    let mut stranger = life();
    stranger.log = Key::new(200);
    all.push(
        Vector::of(
            "pinned-of-another-key",
            "the checkpoint brought is not of this key: a wrong argument",
            &site,
        )
        .pinned(&stranger.head())
        .unreadable(),
    );
    all
}

fn chain_right_tree_wrong() -> Vector {
    let site = life();
    let mut leaves = site.leaves.clone();
    leaves.swap(3, 4);
    let root = greffier::core::ledger::tree::root_of(&leaves);
    let head = site.sign(&Checkpoint { origin: ORIGIN.into(), size: site.size(), root });
    Vector::of(
        "chain-right-tree-wrong",
        "the entries follow each other; the signed root is of another order",
        &site,
    )
    .with("checkpoint", head)
    .finds(&[("root-differs", Some(at::SIZE - 1))])
}

fn tree_right_chain_wrong() -> Vector {
    let mut site = life();
    let wrong = leaf_hash(b"another entry");
    let seq = site.add("ledger.clock-confirmed", |entry| {
        entry.prev = wrong;
        entry.data = super::ledger_support::raw(r#"{"why":"synchronised"}"#);
    });
    Vector::of(
        "tree-right-chain-wrong",
        "the signed root is right; an entry names another one before it",
        &site,
    )
    .finds(&[("chain-broken", Some(seq))])
}
