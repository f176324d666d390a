//! Reviews: what must be looked at by somebody who had no part in it. An opening in an emergency raises one.
//!
//! Who raised a review stands in the detail of its entry, which is kept until it is done: it is read before the writer's turn, and
//! a review whose raiser cannot be known is done by nobody. A late one shows in the state until it is done.

use std::sync::Arc;
use std::time::Duration;

use super::health::Part;
use super::ledger::Proposal;
use super::person::{Person, allowed, decide_for};
use super::service::Service;
use crate::core::event::{Detail, Draft, Event, Outcome, ReviewDone, ReviewRaised, Searched, Subject};
use crate::core::ids::RuleId;
use crate::core::policy::{Decision, Denial, DenialKind, Target, Verb};
use crate::core::refusal::Refusal;
use crate::core::time::{Period, Timestamp};
use crate::shell::bus::archive::ReviewRow;
use crate::shell::bus::interfaces::announce_emergency;
use crate::shell::{journal, message_id};

/// How often reviews are looked at, however the clock goes.
const LOOK: Duration = Duration::from_secs(60);

/// An opening in an emergency is followed by its loud entry, and that by its review.
pub(super) const REVIEW_AFTER: u64 = 2;

/// The review that an opening in an emergency raises, about the same things; `within` is how long it may wait.
pub(super) fn after_emergency(subject: Subject, detail: Detail, now: Timestamp, within: &Period) -> Draft {
    // A period that leads out of the calendar gives no time at all.
    let due = now.checked_add(within).unwrap_or(now);
    let raised = Event::ReviewRaised(ReviewRaised { why: "emergency".into(), due });
    Draft::fact(raised).about(subject).with_detail(detail)
}

impl Service {
    /// Tells everybody that the opening recorded as `entry` was an emergency. `review`: the entry of its review.
    pub(super) async fn announce_emergency(&self, entry: u64, review: u64) {
        let due = self.ledger.look(move |desk| desk.state.reviews().get(review).map(|it| it.due)).await;
        let due = due.ok().flatten().map(|due| due.to_string()).unwrap_or_default();
        journal::alert(
            message_id::ACCESS_EMERGENCY,
            &format!("a recording was opened in an emergency, entry {entry}: review it before {due}"),
            &[("entry", &entry.to_string()), ("review", &review.to_string()), ("due", &due)],
        );
        self.reviews_changed.notify_one();
        if let Some(bus) = self.bus() {
            announce_emergency(&bus.connection, entry).await;
        }
    }

    /// Every open review, for whoever may review.
    pub(super) async fn reviews_for(&self, person: Person) -> Result<Vec<ReviewRow>, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let searched = Searched { what: "reviews".into(), sources: Vec::new(), from: None, to: None };
            let draft = Draft::fact(Event::AccessSearched(searched));
            match decide_for(desk, &person, &person.asks(Verb::Review, Target::Service, None)) {
                Decision::Allow(permit) => {
                    let rows = desk.state.reviews().iter().map(|(entry, review)| ReviewRow {
                        entry,
                        why: review.why.to_string(),
                        raised: review.raised,
                        due: review.due,
                        recording: review.subject.recording,
                        session: review.subject.session,
                    });
                    let rows: Vec<ReviewRow> = rows.collect();
                    let detail = person.detail(permit.rule());
                    Ok(Proposal::new(draft.outcome(Outcome::Granted).with_detail(detail), Ok(rows)))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Review, denial, draft),
            }
        });
        Ok(allowed(recorded.await?)?.into_value())
    }

    /// Ends a review. Its number and what was found; the entry.
    pub(super) async fn review_done_for(
        self: &Arc<Self>,
        person: Person,
        entry: u64,
        text: String,
    ) -> Result<u64, Refusal> {
        let raiser = self.raised_by(entry).await?;
        let recorded = self.ledger.record(move |desk| {
            let event = Event::ReviewDone(ReviewDone { entry });
            let said = Detail { text: Some(text), ..Detail::default() };
            let open = desk.state.reviews().get(entry).map(|review| review.subject.clone());
            let decision = decide_for(desk, &person, &person.asks(Verb::Review, Target::Service, None));
            let denial = match (decision, &open) {
                (Decision::Deny(denial), _) => denial,
                // Who may review sees all of them: it tells nothing that there is none.
                (Decision::Allow(_), None) => refuse(
                    "unknown",
                    DenialKind::Conflict,
                    format!("entry {entry} raised no review that is open; `greffierctl review list` shows them"),
                ),
                (Decision::Allow(_), Some(_)) if raiser.is_none() => refuse(
                    "review",
                    DenialKind::Denied,
                    "the ledger cannot tell who raised this review, so it cannot be known that it was not you".into(),
                ),
                (Decision::Allow(_), Some(_)) if raiser == Some(person.principal.uid) => refuse(
                    "review",
                    DenialKind::Denied,
                    "nobody reviews what he did himself: somebody else must look at it".into(),
                ),
                (Decision::Allow(permit), Some(subject)) => {
                    let detail = Detail { text: said.text, ..person.detail(permit.rule()) };
                    let draft = Draft::fact(event).about(subject.clone()).with_detail(detail);
                    return Ok(Proposal::new(draft, Ok(())));
                }
            };
            let draft = Draft::fact(event).about(open.unwrap_or_default()).with_detail(said);
            person.refused(desk, Verb::Review, denial, draft)
        });
        let done = allowed(recorded.await?)?.entry();
        let _next = self.judge_reviews().await;
        Ok(done)
    }

    /// The uid in the detail of an open review; absent when it cannot be told, or there is no such review.
    async fn raised_by(self: &Arc<Self>, entry: u64) -> Result<Option<u32>, Refusal> {
        if self.ledger.look(move |desk| desk.state.reviews().get(entry).is_none()).await? {
            return Ok(None);
        }
        let service = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let lines = service.reader.entries(entry, 1, usize::MAX)?;
            let Some(line) = lines.first() else { return Ok(None) };
            let detail = service.reader.detail(line)?;
            Ok::<_, std::io::Error>(detail.and_then(|line| Some(Detail::parse(&line).ok()?.who?.uid)))
        });
        match read.await {
            Ok(Ok(uid)) => Ok(uid),
            Ok(Err(error)) => {
                log::error!("the detail of entry {entry} cannot be read: {error}");
                Ok(None)
            }
            Err(_) => Err(Refusal::internal()),
        }
    }

    /// Watches the days of open reviews.
    pub(super) async fn follow_reviews(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let next = self.judge_reviews().await;
            let wait = next.map_or(LOOK, |micros| Duration::from_micros(micros.saturating_add(1)).min(LOOK));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.reviews_changed.notified() => {}
                _ = stopping.changed() => return,
            }
        }
    }

    /// Says in the state whether a review is late. How long until the next will be, in microseconds; absent: none.
    pub(super) async fn judge_reviews(&self) -> Option<u64> {
        let late = self.ledger.look(|desk| {
            let (reviews, now) = (desk.state.reviews(), desk.now.time);
            let to_come =
                reviews.iter().map(|(_, review)| review.due.micros_since(now)).filter(|it| *it >= 0);
            (reviews.overdue(now), to_come.min().and_then(|micros| u64::try_from(micros).ok()))
        });
        // A closed ledger says so itself.
        let (late, next) = late.await.ok()?;
        match late {
            0 => self.health.mend(Part::Reviews),
            late => {
                let why = format!(
                    "{late} openings in an emergency were not reviewed in time: somebody who may review looks at `greffierctl review list`."
                );
                if !self.health.is_degraded(Part::Reviews) {
                    let late = late.to_string();
                    journal::record(log::Level::Warn, message_id::REVIEW_OVERDUE, &why, &[("late", &late)]);
                }
                self.health.degrade(Part::Reviews, why);
            }
        }
        next
    }
}

fn refuse(rule: &'static str, kind: DenialKind, why: String) -> Denial {
    let rule = RuleId::builtin(rule);
    let sentence = format!("Refused by rule {rule}: {why}.");
    Denial::new(rule, kind, sentence)
}
