//! What the tests of the daemon ask of its ledger.

use super::*;
use crate::core::event::{Nothing, Outcome, Record};
use crate::core::ledger::entry::Entry;
use crate::core::state::State;
use crate::verify::{Class, Options, Source, verify_ledger};

impl Archive {
    pub(super) fn lines(&self) -> Vec<crate::daemon::ledger::Line> {
        self.service.reader.entries(0, u64::MAX, usize::MAX).unwrap()
    }
    pub(super) fn records(&self) -> Vec<Record> {
        let record = |line: &crate::daemon::ledger::Line| {
            Record::from_entry(&Entry::parse(&line.line).unwrap()).unwrap()
        };
        self.lines().iter().map(record).collect()
    }
    pub(super) fn count(&self, event: &str) -> usize {
        self.records().iter().filter(|record| record.event.name() == event).count()
    }
    pub(super) async fn say(&self, text: &str) {
        let detail = Detail { text: Some(text.into()), ..Detail::default() };
        let draft =
            Draft::fact(Event::PolicyRefused(Nothing {})).outcome(Outcome::Denied).with_detail(detail);
        let _recorded = self.service.ledger.record(move |_| Ok(Proposal::new(draft, ()))).await.unwrap();
    }
    pub(super) async fn state(&self) -> State {
        self.service.ledger.look(|desk| desk.state.clone()).await.unwrap()
    }
    /// The text of each detail that still opens.
    pub(super) fn texts(&self) -> Vec<(u64, Detail)> {
        let lines = self.lines();
        let opened =
            lines.iter().filter_map(|line| Some((line.seq, self.service.reader.detail(line).unwrap()?)));
        opened.map(|(seq, detail)| (seq, Detail::parse(&detail).unwrap())).collect()
    }
    pub(super) fn verify(&self) {
        let dir = self.dir.path().join("state/ledger");
        let key = self.service.verifier_key.parse().unwrap();
        let verdict = verify_ledger(&Options::new(Source::Path(dir), key)).unwrap();
        let findings = verdict.report.findings();
        let bad: Vec<_> = findings.iter().filter(|finding| finding.code.class() != Class::Note).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
