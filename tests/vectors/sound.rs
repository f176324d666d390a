//! Ledgers in which nothing is wrong: a reader that finds something here is wrong itself.

use super::ledger_support::{Site, raw};
use super::life::{self, confirm, day, fact, life, load_policy, long_life, morning, session, start};
use super::vector::Vector;
use greffier::core::ledger::entry::Outcome;

pub fn all() -> Vec<Vector> {
    let site = life();
    let long = long_life();
    let mut all = vec![
        Vector::of("sound-export", "an export with its details in clear", &site),
        Vector::of("sound-details-sealed", "an export without details", &site).without("details.jsonl"),
        Vector::of("sound-one-entry", "a ledger just created", &Site::new()),
        Vector::of("sound-long", "300 entries: a full bundle, a partial one, and a tile of level 1", &long),
        Vector::of(
            "sound-full-bundle-for-partial",
            "a full bundle and tile stand in for the partial ones",
            &day(),
        )
        .change("tile/entries/000.p/14", |bytes| {
            // What a mirror that went on since would offer.
            bytes.extend([0, 2, b'{', b'}']);
        })
        .rename("tile/entries/000.p/14", "tile/entries/000")
        .change("tile/0/000.p/14", |bytes| bytes.extend([7; 32]))
        .rename("tile/0/000.p/14", "tile/0/000"),
        Vector::live("sound-live", "a ledger folder in service: a tail of one batch", &site),
        Vector::live("sound-live-long", "a ledger folder in service: a full bundle and a tail", &long),
        Vector::of("sound-pinned", "the checkpoint of an earlier visit is met", &long)
            .pinned(&long.kept[1].1),
    ];
    let mut many = Site::new();
    while many.size() < 255 {
        confirm(&mut many);
    }
    for (name, what) in [
        ("sound-255", "one entry less than a full bundle"),
        ("sound-256", "exactly a full bundle"),
        ("sound-257", "one entry more than a full bundle"),
    ] {
        all.push(Vector::of(name, what, &many));
        confirm(&mut many);
    }

    let mut site = day();
    start(&mut site);
    site.time_micros -= 3600 * 1_000_000;
    let up = |seq: u64| 100_000_000 + seq;
    for event in ["ledger.clock-suspect", "ledger.clock-confirmed"] {
        let seq = site.size();
        site.add(event, |entry| {
            entry.up_micros = up(seq);
            entry.data = raw(r#"{"why":"synchronised"}"#);
        });
    }
    all.push(Vector::of("sound-clock-suspect", "time falls, and ledger.clock-suspect says so", &site));

    let mut site = morning();
    life::open(&mut site, Outcome::Granted);
    session(&mut site, "access.progress");
    fact(&mut site, "ledger.started", r#"{"version":"0.1.0","after_crash":true}"#);
    fact(&mut site, "ledger.recovered", r#"{"why":"torn-tail","dropped_bytes":812,"turned_away":0}"#);
    site.add("access.interrupted", |entry| {
        entry.recording = life::RECORDING.parse().ok();
        entry.source = "entrance".parse().ok();
        entry.session = life::SESSION.parse().ok();
        entry.data = raw(r#"{"why":"service-crashed"}"#);
    });
    all.push(Vector::of(
        "sound-crash",
        "after a crash a start says so, and an entry that the session was interrupted",
        &site,
    ));

    let mut site = morning();
    load_policy(&mut site, life::OTHER_POLICY);
    site.add("source.retired", |entry| entry.source = "entrance".parse().ok());
    all.push(Vector::of("sound-policy-change", "another policy is loaded, and an entry says so", &site));

    // The first bundle is full only when 256 entries are there.
    let mut site = long_life();
    start(&mut site);
    // What the policy in force says must stay.
    let data = r#"{"bundle":0,"destroyed":[[4,256]],"kept":[[3,4]],"generation":1}"#;
    fact(&mut site, "ledger.details-destroyed", data);
    site.details.retain(|(seq, _)| *seq == 3 || *seq >= 256);
    all.push(Vector::of(
        "sound-details-destroyed",
        "the details of a bundle are destroyed, and an entry says so",
        &site,
    ));

    let mut site = day();
    start(&mut site);
    for _ in 0..3 {
        fact(&mut site, "ledger.heartbeat", r#"{"interval_s":3600}"#);
        site.time_micros += 3600 * 1_000_000;
    }
    confirm(&mut site);
    all.push(Vector::of("sound-heartbeats", "nothing happens, and every hour an entry says so", &site));
    all
}
