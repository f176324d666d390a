//! When the service ran: starts, stops, crashes, silence. Every time in which it was away must be visible.
//!
//! Time within a run is measured by the clock since boot, which nobody sets. Entries that a start writes before it says so
//! (`ledger.recovered`, `ledger.rekeyed`, `ledger.clock-suspect`, `ledger.restored`) count for neither run until it does.

use super::{Findings, Seen, duration, when};
use crate::core::event::Event;
use crate::core::time::{BootId, Timestamp};
use crate::verify::findings::{Code, Report};
use crate::verify::statistics::{Gap, GapKind, Statistics};

/// What a heartbeat may be late before silence is a finding: a disk that is busy, a machine that swaps.
const MARGIN_MICROS: i64 = 5 * 60 * 1_000_000;

/// The runs of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// The boot of the run under way; `None` while stopped.
    run: Option<BootId>,
    ever_started: bool,
    /// Said once a run.
    start_missed: bool,
    /// How often at least this run writes, as it announced.
    interval_micros: Option<i64>,
    /// The last entry that surely belongs to a run: none that a start may have written.
    last: Option<Written>,
    /// The last entry of all.
    last_entry: Option<Written>,
    /// A silence before an entry that a start may have written: the next one tells.
    pending: Option<Gap>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    time: Timestamp,
    up_micros: u64,
    boot: BootId,
}

impl Service {
    pub(super) fn judge(&mut self, seen: &Seen<'_>, statistics: &mut Statistics, found: &mut Findings) {
        let record = seen.record;
        let now = Written { time: record.time, up_micros: record.up_micros, boot: record.boot };
        let by_start = matches!(
            record.event,
            Event::LedgerCreated(_)
                | Event::LedgerRecovered(_)
                | Event::LedgerRekeyed(_)
                | Event::LedgerClockSuspect(_)
                | Event::LedgerRestored(_)
        );
        match &record.event {
            Event::LedgerStarted(started) if seen.took_effect() => {
                self.pending = None;
                self.start(seen, started.after_crash, statistics, found);
            }
            _ => {
                self.judge_silence(seen, now, by_start, statistics, found);
                self.judge_place(seen, found);
            }
        }
        match &record.event {
            Event::LedgerStopped(_) if seen.took_effect() => {
                self.run = None;
                self.interval_micros = None;
                self.start_missed = false;
            }
            Event::LedgerHeartbeat(beat) => {
                let seconds = i64::try_from(beat.interval_s).unwrap_or(i64::MAX);
                self.interval_micros = Some(seconds.saturating_mul(1_000_000));
            }
            Event::LedgerRestored(restored) => {
                let sentence = format!(
                    "the ledger was put back from a backup: {} entries were known elsewhere, {} were left",
                    restored.known_size, restored.size
                );
                found.push((Code::LedgerRestored, sentence));
            }
            Event::LedgerRecovered(recovered) => {
                if let Some(since) = recovered.since {
                    let gap =
                        Gap { kind: GapKind::Unwritable, from: since, to: now.time, entry: Some(seen.seq) };
                    // The clock may have fallen meanwhile, which the entry before this one says.
                    if since > now.time && !seen.state.clock_suspect() {
                        let sentence = "it says that nothing could be written since a time that had not come";
                        found.push((Code::DataImplausible, sentence.into()));
                    }
                    found.push((
                        Code::ServiceInterrupted,
                        format!("the ledger could not be written {}", from_to(&gap)),
                    ));
                    statistics.gap(gap);
                }
            }
            _ => {}
        }
        if !by_start {
            self.last = Some(now);
        }
        self.last_entry = Some(now);
    }

    /// After the last entry.
    pub(super) fn finish(
        &mut self,
        visit: Option<Timestamp>,
        statistics: &mut Statistics,
        report: &mut Report,
    ) {
        if let Some(gap) = self.pending.take() {
            report.add(Code::Silence, gap.entry, silence(&gap));
            statistics.gap(gap);
        }
        let acted = statistics.events.keys().any(|name| !name.starts_with("ledger."));
        if !self.ever_started && acted {
            let sentence = "no entry says that the service started, so its gaps are not known";
            report.add(Code::ServiceUnknown, None, sentence);
        }
        let (Some(to), Some(last), Some(interval)) = (visit, self.last_entry, self.interval_micros) else {
            return;
        };
        if self.run.is_some() && to.micros_since(last.time) > interval.saturating_add(MARGIN_MICROS) {
            let gap = Gap { kind: GapKind::Silent, from: last.time, to, entry: None };
            report.add(Code::Silence, None, format!("{}, the time of the visit", silence(&gap)));
            statistics.gap(gap);
        }
    }

    fn start(
        &mut self,
        seen: &Seen<'_>,
        after_crash: bool,
        statistics: &mut Statistics,
        found: &mut Findings,
    ) {
        let crashed = self.run.is_some();
        if crashed != after_crash {
            let sentence = match crashed {
                true => "it does not say that the run before ended without a stop",
                false => "it says that the run before crashed, but that one had stopped or there was none",
            };
            found.push((Code::StartUntrue, sentence.into()));
        }
        if let Some(last) = self.last.filter(|_| self.ever_started) {
            let kind = if crashed { GapKind::Crashed } else { GapKind::Stopped };
            let gap = Gap { kind, from: last.time, to: seen.time(), entry: Some(seen.seq) };
            if crashed {
                let sentence = format!("the service ended without a stop and was away {}", from_to(&gap));
                found.push((Code::ServiceInterrupted, sentence));
            }
            statistics.gap(gap);
        }
        self.run = Some(seen.record.boot);
        self.ever_started = true;
        self.start_missed = false;
        self.interval_micros = None;
    }

    /// Whether a run is under way that this entry can belong to.
    fn judge_place(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        let event = &seen.record.event;
        let act = !event.name().starts_with("ledger.")
            || matches!(event, Event::LedgerRead(_) | Event::LedgerProved(_) | Event::LedgerStopped(_));
        if !act || !self.ever_started || self.run == Some(seen.record.boot) || self.start_missed {
            return;
        }
        self.start_missed = true;
        let sentence = match self.run {
            Some(_) => {
                "the machine was started anew since the service started, and no entry says that the service was"
            }
            None => "the service had stopped, and no entry says that it started again",
        };
        found.push((Code::StartMissing, sentence.into()));
    }

    fn judge_silence(
        &mut self,
        seen: &Seen<'_>,
        now: Written,
        by_start: bool,
        statistics: &mut Statistics,
        found: &mut Findings,
    ) {
        if !by_start && let Some(gap) = self.pending.take() {
            found.push((Code::Silence, silence(&gap)));
            statistics.gap(gap);
        }
        let Some(last) = self.last_entry.filter(|last| self.run == Some(now.boot) && last.boot == now.boot)
        else {
            return;
        };
        let quiet_micros = i64::try_from(now.up_micros.saturating_sub(last.up_micros)).unwrap_or(i64::MAX);
        // What could not be written is said by `ledger.recovered` itself.
        let unwritable =
            matches!(&seen.record.event, Event::LedgerRecovered(recovered) if recovered.since.is_some());
        let limit = self.interval_micros.map(|interval| interval.saturating_add(MARGIN_MICROS));
        if unwritable || limit.is_none_or(|limit| quiet_micros <= limit) {
            if !by_start {
                statistics.longest_quiet_micros = statistics.longest_quiet_micros.max(quiet_micros);
            }
            return;
        }
        let gap = Gap { kind: GapKind::Silent, from: last.time, to: now.time, entry: Some(seen.seq) };
        if by_start {
            self.pending = Some(gap);
        } else {
            statistics.longest_quiet_micros = statistics.longest_quiet_micros.max(quiet_micros);
            found.push((Code::Silence, silence(&gap)));
            statistics.gap(gap);
        }
    }
}

fn silence(gap: &Gap) -> String {
    format!("nothing was written {} although the service had not stopped", from_to(gap))
}

fn from_to(gap: &Gap) -> String {
    format!("from {} to {} ({})", when(gap.from), when(gap.to), duration(gap.to.micros_since(gap.from)))
}
