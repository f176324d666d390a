//! Keys, ledger, catalogue.

use super::{Facts, Found, Secret};

pub(super) fn judge(facts: &Facts, found: &mut Found) {
    judge_keys(facts, found);
    judge_ledger(facts, found);
}

fn judge_keys(facts: &Facts, found: &mut Found) {
    let keys = &facts.keys;
    let dir = format!("{}/keys", facts.places.state_dir);
    if keys.generation.is_none() && facts.places.unusable.is_none() {
        let next = "restore keys/ from a backup; without it no recording can ever be opened";
        found.add("key-damaged", &dir, "there is no key file", next);
    }
    for copy in &keys.copies_missing {
        let next = "start the service: it makes this copy anew from the other; then look at the disk";
        found.add(
            "key-copy-missing",
            copy.as_str(),
            "this copy of the keys is missing or cannot be read",
            next,
        );
    }
    if let Some(half) = keys.half.filter(|half| *half > 0) {
        let what = format!("{half} keys are sound in one copy only");
        found.add(
            "key-copy-bad",
            &dir,
            what,
            "start the service or run greffierctl store scrub: both repair them",
        );
    }
    if let Some(damaged) = keys.damaged.filter(|damaged| *damaged > 0) {
        let what = format!("{damaged} keys are damaged in both copies");
        let next = "restore keys/ from a backup made before; the next start wipes what is left of them";
        found.add("key-damaged", &dir, what, next);
    }
    for left in keys.left_by_rotation.iter().flatten() {
        found.add(
            "rotation-unfinished",
            left.as_str(),
            "a change of the master key left it: what it holds may open with a key that was to be forgotten",
            "start the service: it ends the change, or takes it back, and removes this; where it stays the journal says why",
        );
    }
    match &keys.master {
        Some(Secret::Credential { name, file: None }) => found.add(
            "credential-missing",
            name.as_str(),
            "the encrypted credential with the master key is not in /etc/credstore.encrypted",
            "put it back with greffierctl keys restore; the unit loads it from there",
        ),
        Some(Secret::Plain { path, mode: None }) => {
            found.add(
                "credential-missing",
                path.as_str(),
                "the master key is missing",
                "put it back with greffierctl keys restore",
            );
        }
        Some(Secret::Plain { path, mode: Some(mode) }) => {
            let next = "use a systemd credential";
            found.add("key-plain", path.as_str(), "the master key lies in a plain file, as configured", next);
            if mode & 0o077 != 0 {
                let what = format!("its mode is {:04o}: others can read the master key", mode & 0o7777);
                found.add(
                    "key-exposed",
                    path.as_str(),
                    what,
                    format!("chmod 0600 {path}, then rotate the keys"),
                );
            }
        }
        Some(Secret::Credential { .. }) | None => {}
    }
}

fn judge_ledger(facts: &Facts, found: &mut Found) {
    let Some(ledger) = &facts.ledger else { return };
    if let Some(why) = &ledger.unusable {
        let next = "restore the whole state directory from one backup";
        return found.add(
            "ledger-unusable",
            format!("{}/ledger", facts.places.state_dir),
            why.as_str(),
            next,
        );
    }
    if ledger.damaged > 0 {
        found.add(
            "recordings-damaged",
            format!("{}/objects", facts.places.state_dir),
            format!(
                "{} recordings are damaged; the journal and store.damaged in the ledger name them",
                ledger.damaged
            ),
            "put them back from a backup, then run greffierctl store scrub",
        );
    }
    if ledger.clock_suspect {
        found.add(
            "clock-suspect",
            "clock",
            "it jumped, and nobody has confirmed it since: nothing is purged",
            "synchronise it, or run greffierctl retention confirm-clock when the service runs",
        );
    }
    let second = ledger.second_path.as_str();
    match ledger.second_entries {
        None => found.add(
            "second-missing",
            second,
            "there is no second copy of the last checkpoint, so an old copy of the ledger put back is noticed less surely",
            "name a second_checkpoint on another disk, and start the service",
        ),
        Some(known) if known < ledger.entries => found.add(
            "second-behind",
            second,
            format!("it knows {known} of {} entries; after an orderly stop it knows all", ledger.entries),
            "see that the service can write there: greffierd may need ReadWritePaths=",
        ),
        Some(_) if ledger.second_same_disk => found.add(
            "second-same-disk",
            second,
            "the second copy of the last checkpoint lies on the same disk as the ledger",
            "name a second_checkpoint on another disk",
        ),
        Some(_) => {}
    }
    if ledger.catalogue_entries != Some(ledger.entries) {
        let what = "the catalogue is missing, damaged or behind the ledger";
        found.add(
            "catalogue-anew",
            format!("{}/catalogue", facts.places.state_dir),
            what,
            "nothing: the next start brings it up to date, or makes it anew",
        );
    }
    if let (Some(now), Some(last)) = (facts.system.now, ledger.last)
        && now < last
    {
        found.add(
            "clock-behind",
            "clock",
            format!("it is {now}, before the last entry ({last})"),
            "set the clock right before the service starts: until then nothing is purged",
        );
    }
}
