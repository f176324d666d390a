//! Searching and describing: decided and recorded first, read from the catalogue after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::facts::facts_for;
use super::person::{Person, allowed, decide_for, unknown};
use super::projection;
use super::service::Service;
use crate::core::event::{Detail, Draft, Event, Outcome, Searched, Subject};
use crate::core::ids::{Digest, RecordingId, SourceId};
use crate::core::policy::{AccessRequest, Decision, RecordingFacts, Rows, Target, Verb, searchable_sources};
use crate::core::refusal::{Refusal, RefusalKind};
use crate::shell::bus::archive::{Filter, RecordingRow};
use crate::shell::disk::catalogue::{Cursor, Query, Row};

impl Service {
    /// One page of what `person` may search for his reason, oldest first, and the cursor of the next.
    pub(super) async fn search_page(
        self: &Arc<Self>,
        person: Person,
        filter: Filter,
        limit: u32,
        cursor: String,
    ) -> Result<(Vec<RecordingRow>, String), Refusal> {
        let cursor = match cursor.as_str() {
            "" => None,
            text => Some(text.parse::<Cursor>().map_err(|_| {
                Refusal::invalid("The cursor is not one that a search returned; start again without one.")
            })?),
        };
        let asked: Vec<SourceId> = filter.sources.iter().filter_map(|source| source.parse().ok()).collect();
        let everywhere = filter.sources.is_empty();
        let (from, to) = (filter.from, filter.to);
        let typed_reason = filter.reason.clone();
        let user = person.principal.user.clone();
        let recorded = self.ledger.record(move |desk| {
            let request = AccessRequest {
                reason: typed_reason.parse().ok(),
                ..person.asks(Verb::Search, Target::Service, None)
            };
            let event = |sources: &BTreeSet<SourceId>| {
                let sources = sources.iter().cloned().collect();
                Event::AccessSearched(Searched { what: "search".into(), sources, from, to })
            };
            let now = desk.now.time;
            match decide_for(desk, &person, &request) {
                Decision::Allow(permit) => {
                    let reason = permit.reason().cloned();
                    let facts = facts_for(desk, &request, None);
                    let searchable = searchable_sources(desk.policy, desk.house, &request, &facts, now);
                    let (mut sources, mut rows) = (BTreeSet::new(), BTreeMap::new());
                    for (source, shown) in searchable {
                        // A source that is unknown, or not the caller's to search, is left out in silence.
                        if everywhere || asked.contains(&source) {
                            sources.insert(source.clone());
                            rows.insert(source, shown);
                        }
                    }
                    let draft = Draft::fact(event(&sources))
                        .outcome(Outcome::Granted)
                        .about(Subject { reason, ..Subject::default() })
                        .with_detail(person.detail(permit.rule()));
                    // Hardly ever any: the catalogue knows what was sealed, the state what became of it.
                    let damaged: BTreeSet<RecordingId> = desk.state.damaged().keys().copied().collect();
                    Ok(person.permitted(desk, Some(&permit), draft, (rows, damaged)))
                }
                Decision::Deny(denial) => {
                    let said = Detail { asked: Some(typed_reason), ..Detail::default() };
                    let draft = Draft::fact(event(&BTreeSet::new())).with_detail(said);
                    person.refused(desk, Verb::Search, denial, draft)
                }
            }
        });
        let scope = allowed(recorded.await?)?;
        self.catalogue.wait_for(scope.entry() + 1).await;
        let (rows, damaged) = scope.into_value();

        let service = self.clone();
        let page = tokio::task::spawn_blocking(move || {
            let sources: BTreeSet<SourceId> = rows.keys().cloned().collect();
            let mine = user.map(|user| service.catalogue.hash(user.as_str()));
            let some_hidden = rows.values().any(|rows| !rows.shows_all());
            let shows =
                |row: &Row| !some_hidden || rows.get(&row.source).is_some_and(|it| shown(it, row, mine));
            let query = Query {
                sources: &sources,
                kind: filter.kind,
                from,
                to,
                held: filter.held,
                limit: usize::try_from(limit).unwrap_or(1),
                cursor,
            };
            service.catalogue.search(&query, &shows)
        });
        match page.await {
            Ok(Some(Ok(page))) => {
                let next = page.next_cursor.map_or(String::new(), |cursor| cursor.to_string());
                let rows = page.rows.into_iter().map(|row| {
                    let damaged = damaged.contains(&row.id);
                    told(row, damaged)
                });
                Ok((rows.collect(), next))
            }
            Ok(Some(Err(error))) => {
                log::error!("the catalogue could not be read: {}", super::errors::chain(&error));
                Err(Refusal::internal())
            }
            Ok(None) => Err(Refusal::new(
                RefusalKind::Closed,
                "The catalogue cannot be used now: it is being made anew from the ledger; try again in a moment.",
            )),
            Err(_) => Err(Refusal::internal()),
        }
    }

    /// What is known of one recording, for whoever may search it.
    pub(super) async fn describe_one(&self, person: Person, id: String) -> Result<RecordingRow, Refusal> {
        let recorded = self.ledger.record(move |desk| {
            let searched = Searched { what: "describe".into(), sources: Vec::new(), from: None, to: None };
            let event = Event::AccessSearched(searched);
            let found = id.parse::<RecordingId>().ok().and_then(|id| Some((id, desk.state.recording(&id)?)));
            let Some((id, recording)) = found else {
                let said = Detail { asked: Some(id.chars().take(64).collect()), ..Detail::default() };
                return person.refused(
                    desk,
                    Verb::Search,
                    unknown(desk, &person),
                    Draft::fact(event).with_detail(said),
                );
            };
            let source = recording.source.clone();
            let row = projection::row(id, recording, desk.state.holds().on(&id).is_some(), None);
            let row = told(row, desk.state.damaged().contains_key(&id));
            let request = person.asks(Verb::Search, Target::Recording { id, source: source.clone() }, None);
            let draft = Draft::fact(event).about(Subject::recording(id, source));
            match decide_for(desk, &person, &request) {
                Decision::Allow(permit) => {
                    let draft = draft.outcome(Outcome::Granted).with_detail(person.detail(permit.rule()));
                    Ok(person.permitted(desk, Some(&permit), draft, row))
                }
                Decision::Deny(denial) => person.refused(desk, Verb::Search, denial, draft),
            }
        });
        Ok(allowed(recorded.await?)?.into_value())
    }
}

/// Whether rules show a row to whom `mine` is the hash of.
fn shown(rows: &Rows, row: &Row, mine: Option<Digest>) -> bool {
    let own = mine.map(|mine| row.subject == Some(mine));
    rows.shows(&RecordingFacts { kind: row.kind, start: row.start, end: row.end, own })
}

/// A row as the bus tells it.
fn told(row: Row, damaged: bool) -> RecordingRow {
    RecordingRow {
        id: row.id,
        source: row.source.to_string(),
        kind: row.kind,
        start: row.start,
        end: row.end,
        sealed: row.sealed,
        bytes: row.bytes,
        media: row.media,
        sha256: row.sha256.to_string(),
        class: row.class.to_string(),
        expires: row.latest,
        held: row.held,
        damaged,
    }
}
