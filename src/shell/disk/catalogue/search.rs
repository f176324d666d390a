//! Searching: one ordered walk for each allowed lane, merged. A page costs what it shows, not what the archive holds.
//!
//! Must never touch a lane outside the query's sources.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;

use super::key::{self, Cursor, HELD, KINDS, ORDER, Place};
use super::row::{Page, Query, Row};
use super::{Catalogue, CatalogueError, damaged, guarded};

impl Catalogue {
    /// One page, ordered by start, then id, across all allowed sources, of what `shows` does not leave out. What it leaves out is
    /// passed over row by row.
    ///
    /// # Errors
    /// The catalogue has to be rebuilt.
    pub fn search(&self, query: &Query<'_>, shows: &dyn Fn(&Row) -> bool) -> Result<Page, CatalogueError> {
        let _between_batches = self.reading();
        let mut walks = Vec::new();
        let mut heads = BinaryHeap::new();
        for source in query.sources {
            for kind in KINDS.into_iter().filter(|&kind| query.kind.is_none_or(|wanted| wanted == kind)) {
                let mut rows = self.walk(query, &key::lane(source, kind))?;
                if let Some(row) = self.next(&mut rows, query, shows)? {
                    heads.push(Reverse((Place::of(&row), walks.len())));
                    walks.push((rows, row));
                }
            }
        }
        let mut page = Page { rows: Vec::new(), next_cursor: None };
        while let Some(Reverse((_, lane))) = heads.pop() {
            if page.rows.len() >= query.limit {
                page.next_cursor = page.rows.last().map(|row| Cursor(Place::of(row)));
                break;
            }
            let Some((rows, head)) = walks.get_mut(lane) else { continue };
            match self.next(rows, query, shows)? {
                Some(row) => {
                    heads.push(Reverse((Place::of(&row), lane)));
                    page.rows.push(std::mem::replace(head, row));
                }
                None => page.rows.push(head.clone()),
            }
        }
        Ok(page)
    }

    /// The keys of one lane, from where the page begins to where the query ends.
    fn walk(&self, query: &Query<'_>, lane: &[u8]) -> Result<Option<sled::Iter>, CatalogueError> {
        let table = if query.held == Some(true) { HELD } else { ORDER };
        let mut first = [&[table], lane].concat();
        if let Some(from) = query.from {
            // What reaches `from` starts at most the longest recording before it.
            let longest = i64::try_from(self.longest_micros(lane)?).unwrap_or(i64::MAX);
            first = first.max(key::seek_key(table, lane, from.saturating_add_micros(-longest)));
        }
        // No key of a lane is as long as this, so none is equal to it.
        let mut end = [&[table], lane, &[0xFF; key::PLACE_BYTES + 1]].concat();
        if let Some(to) = query.to {
            end = key::seek_key(table, lane, to);
        }
        let mut start = Bound::Included(first.clone());
        if let Some(Cursor(place)) = query.cursor {
            let after = key::ordered_key(table, lane, place);
            if after >= first {
                first.clone_from(&after);
                start = Bound::Excluded(after);
            }
        }
        // sled takes a range that ends before it begins for a mistake of the program.
        if first >= end {
            Ok(None)
        } else {
            guarded(|| Ok(Some(self.db.range((start, Bound::Excluded(end))))))
        }
    }

    /// The next row of a lane that answers the query.
    fn next(
        &self,
        rows: &mut Option<sled::Iter>,
        query: &Query<'_>,
        shows: &dyn Fn(&Row) -> bool,
    ) -> Result<Option<Row>, CatalogueError> {
        let Some(rows) = rows else { return Ok(None) };
        while let Some((key, value)) = guarded(|| rows.next().transpose())? {
            let row = if key.first() == Some(&HELD) {
                self.row_at(&key::in_table(ORDER, &key))?
            } else {
                Row::from_stored(&key, &value).ok_or_else(|| damaged(&key))?
            };
            let reaches = query.from.is_none_or(|from| row.end > from || row.start >= from);
            if reaches && query.held.is_none_or(|held| held == row.held) && shows(&row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}
