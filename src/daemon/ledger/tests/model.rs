//! Random lives of a ledger against the simplest model: the list of entries that were acknowledged.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Entries in one proposal, every second one with a detail.
    Record(u64),
    /// A fault at the Nth write, sync or new file from now on.
    Fault(usize, i64),
    /// A stop or a crash: the same to the files.
    Reopen,
    /// A crash that leaves bytes behind the last batch.
    Torn(Vec<u8>),
    Rekey,
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..6_u64).prop_map(Step::Record),
        2 => (100..300_u64).prop_map(Step::Record),
        3 => (0..3_usize, 1..4_i64).prop_map(|(kind, n)| Step::Fault(kind, n)),
        2 => Just(Step::Reopen),
        1 => prop::collection::vec(1..=255_u8, 1..600).prop_map(Step::Torn),
        1 => Just(Step::Rekey),
        1 => (-90..90_i64).prop_map(Step::Clock),
    ]
}

/// What was acknowledged, by number, as first read back.
#[derive(Default)]
struct Model(BTreeMap<u64, Arc<[u8]>>);

impl Model {
    fn check(&self, site: &Site, run: &Run) {
        let bytes = run.bytes();
        for (seq, line) in &self.0 {
            assert_eq!(bytes.get(usize::try_from(*seq).unwrap()), Some(line), "entry {seq}");
        }
        site.verify(run.size());
    }
}

fn live(steps: Vec<Step>) {
    let mut site = Site::new();
    let mut run = site.open();
    let mut model = Model::default();
    let mut count = 0;
    for step in steps {
        match step {
            Step::Record(entries) => {
                let batch = count;
                count += 1;
                let drafts = (0..entries).map(move |n| {
                    let text = format!("{batch}.{n}");
                    if n % 2 == 0 { plain(text) } else { detailed(text) }
                });
                match run.try_record(drafts.collect()) {
                    Ok(recorded) => {
                        let lines = run.opened.reader.entries(recorded.entry(), entries, usize::MAX).unwrap();
                        assert_eq!(lines.len() as u64, entries, "readable as soon as it is answered");
                        model.0.extend(lines.into_iter().map(|line| (line.seq, line.line)));
                    }
                    Err(refusal) => assert_eq!(refusal.kind, RefusalKind::LedgerUnavailable),
                }
                run.wait_until_open();
            }
            Step::Fault(kind, n) => {
                let faults = site.faults();
                [&faults.write_in, &faults.sync_in, &faults.file_in][kind].store(n, SeqCst);
            }
            Step::Reopen => {
                run.stop();
                clear(&site);
                run = site.open();
                model.check(&site, &run);
            }
            Step::Torn(garbage) => {
                run.stop();
                clear(&site);
                site.damage("tail", |tail| {
                    let end = tail.iter().rposition(|byte| *byte != 0).unwrap() + 1;
                    tail.truncate(end);
                    tail.extend(&garbage);
                });
                run = site.open();
                model.check(&site, &run);
            }
            Step::Rekey => {
                let secret = Secret::generate().unwrap();
                let _in_doubt = block_on(run.ledger.rekey(Signer::new(&secret)));
                site.epochs.push(secret);
                run.wait_until_open();
            }
            Step::Clock(seconds) => site.step_clock(seconds),
        }
    }
    model.check(&site, &run);
    run.stop();
}

fn clear(site: &Site) {
    let faults = site.faults();
    for counter in [&faults.write_in, &faults.sync_in, &faults.file_in] {
        counter.store(0, SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inv4_whatever_was_acknowledged_is_there_unchanged(steps in prop::collection::vec(step(), 1..14)) {
        live(steps);
    }
}
