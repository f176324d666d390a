//! The catalogue against a simple model, and against damaged files.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::ids::{Digest, Kind, SourceId};
use crate::core::time::Timestamp;

const SOURCES: [&str; 3] = ["door", "door-2", "line"];
const KINDS: [Kind; 3] = [Kind::Footage, Kind::Call, Kind::Screen];
const ROOT: [u8; 32] = [7; 32];

type Model = BTreeMap<RecordingId, Row>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

fn id(number: u32) -> RecordingId {
    let mut bytes = [0; 16];
    // Spread, so that the order of ids is not the order of time.
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    RecordingId::from_bytes(bytes)
}

fn row(number: u32, source: &str, kind: Kind, start: i64, length: i64) -> Row {
    Row {
        id: id(number),
        source: source.parse().unwrap(),
        kind,
        start: at(start),
        end: at(start + length),
        sealed: at(start + length + 1),
        bytes: u64::from(number),
        media: "video/mp4".into(),
        sha256: Digest([1; 32]),
        class: "premises".parse().unwrap(),
        latest: at(start + 1000),
        held: false,
        subject: number.is_multiple_of(2).then_some(Digest([2; 32])),
    }
}

fn fresh() -> (tempfile::TempDir, Catalogue) {
    let dir = tempfile::tempdir().unwrap();
    let opened = Catalogue::open(&dir.path().join("catalogue"), |_| false).unwrap();
    assert!(opened.rebuilt.is_none() && opened.replay_from == 0);
    (dir, opened.catalogue)
}

fn apply_to_model(model: &mut Model, change: &Change) {
    match change {
        Change::Put(row) => {
            model.insert(row.id, row.clone());
        }
        Change::Remove(id) => {
            model.remove(id);
        }
        Change::SetHeld(id, held) => {
            if let Some(row) = model.get_mut(id) {
                row.held = *held;
            }
        }
    }
}

fn matching(model: &Model, query: &Query<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = model
        .values()
        .filter(|row| query.sources.contains(&row.source))
        .filter(|row| query.kind.is_none_or(|kind| kind == row.kind))
        .filter(|row| query.held.is_none_or(|held| held == row.held))
        .filter(|row| query.from.is_none_or(|from| row.end > from || row.start >= from))
        .filter(|row| query.to.is_none_or(|to| row.start < to))
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.start, row.id));
    rows
}

fn rows_by_id(catalogue: &Catalogue) -> Vec<Row> {
    let mut rows: Vec<Row> = catalogue.all().collect::<Result<_, _>>().unwrap();
    rows.sort_by_key(|row| row.id);
    rows
}

fn page_through(catalogue: &Catalogue, mut query: Query<'_>, shows: &dyn Fn(&Row) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let page = catalogue.search(&query, shows).unwrap();
        assert!(page.rows.len() <= query.limit);
        rows.extend(page.rows);
        let Some(cursor) = page.next_cursor else { return rows };
        // Through text, as over the bus.
        query.cursor = Some(cursor.to_string().parse().unwrap());
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let put = (0..24_u32, 0..3_usize, 0..3_usize, -20..20_i64, 0..12_i64).prop_map(
        |(n, source, kind, start, length)| Change::Put(row(n, SOURCES[source], KINDS[kind], start, length)),
    );
    let held = (0..24_u32, any::<bool>()).prop_map(|(n, held)| Change::SetHeld(id(n), held));
    prop_oneof![4 => put, 1 => (0..24_u32).prop_map(|n| Change::Remove(id(n))), 2 => held]
}

#[derive(Debug)]
struct Filter {
    sources: BTreeSet<SourceId>,
    kind: Option<Kind>,
    from: Option<i64>,
    to: Option<i64>,
    held: Option<bool>,
    limit: usize,
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let bound = || prop::option::of(-25..25_i64);
    (prop::collection::btree_set(0..3_usize, 0..=3), prop::option::of(0..3_usize), bound(), bound())
        .prop_flat_map(|parts| (Just(parts), prop::option::of(any::<bool>()), 1..5_usize))
        .prop_map(|((sources, kind, from, to), held, limit)| Filter {
            sources: sources.into_iter().map(|i| SOURCES[i].parse().unwrap()).collect(),
            kind: kind.map(|i| KINDS[i]),
            from,
            to,
            held,
            limit,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn inv5_catalogue_answers_like_a_simple_model(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 0..12), 1..6),
        filters in prop::collection::vec(any_filter(), 1..8),
    ) {
        let (dir, catalogue) = fresh();
        let mut model = Model::new();
        for (size, batch) in (1..).zip(&batches) {
            catalogue.apply(batch, (size, ROOT)).unwrap();
            batch.iter().for_each(|change| apply_to_model(&mut model, change));
        }
        let size = batches.len() as u64;
        prop_assert_eq!(catalogue.position().unwrap(), Some((size, ROOT)));
        prop_assert_eq!(rows_by_id(&catalogue), model.values().cloned().collect::<Vec<_>>());
        for number in 0..24 {
            prop_assert_eq!(catalogue.get(id(number)).unwrap(), model.get(&id(number)).cloned());
        }
        for filter in &filters {
            let query = Query {
                sources: &filter.sources,
                kind: filter.kind,
                from: filter.from.map(at),
                to: filter.to.map(at),
                held: filter.held,
                limit: filter.limit,
                cursor: None,
            };
            prop_assert_eq!(page_through(&catalogue, query.clone(), &|_| true), matching(&model, &query));
            // What the rules of the caller leave out.
            let own = |row: &Row| row.subject.is_some();
            let all_own: Vec<Row> = matching(&model, &query).into_iter().filter(own).collect();
            prop_assert_eq!(page_through(&catalogue, query.clone(), &own), all_own);
        }
        drop(catalogue);
        let opened = Catalogue::open(&dir.path().join("catalogue"), |position| position == (size, ROOT)).unwrap();
        prop_assert!(opened.rebuilt.is_none());
        prop_assert_eq!(opened.replay_from, size);
        let all = rows_by_id(&opened.catalogue);
        prop_assert_eq!(all, model.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn inv5_a_catalogue_ahead_of_or_beside_the_ledger_is_thrown_away() {
    // A ledger of eight entries, and one whose first nine are others.
    for fits in [(|(size, _)| size <= 8) as fn(Position) -> bool, |position| position == (9, [8; 32])] {
        let (dir, catalogue) = fresh();
        let path = dir.path().join("catalogue");
        catalogue.apply(&[Change::Put(row(1, "door", Kind::Footage, 0, 5))], (9, ROOT)).unwrap();
        drop(catalogue);
        let opened = Catalogue::open(&path, fits).unwrap();
        assert!(matches!(opened.rebuilt, Some(CatalogueError::Elsewhere(9))));
        assert_eq!(opened.replay_from, 0);
        assert_eq!(opened.catalogue.all().count(), 0);
        assert_eq!(opened.catalogue.position().unwrap(), None);
    }
}

#[test]
fn inv5_rows_without_a_position_are_not_believed() {
    let (dir, catalogue) = fresh();
    catalogue.apply(&[Change::Put(row(1, "door", Kind::Footage, 0, 5))], (9, ROOT)).unwrap();
    // What a crash in the middle of `clear` leaves.
    catalogue.db.remove(POSITION).unwrap();
    drop(catalogue);
    let opened = Catalogue::open(&dir.path().join("catalogue"), |_| true).unwrap();
    assert!(matches!(opened.rebuilt, Some(CatalogueError::Damaged(_))));
    assert_eq!(opened.catalogue.all().count(), 0);
}

#[test]
fn clear_leaves_nothing_and_the_catalogue_stays_usable() {
    let (_dir, catalogue) = fresh();
    let put = Change::Put(row(1, "door", Kind::Footage, 0, 5));
    catalogue.apply(std::slice::from_ref(&put), (9, ROOT)).unwrap();
    catalogue.clear().unwrap();
    assert_eq!(catalogue.position().unwrap(), None);
    assert!(catalogue.db.is_empty());
    catalogue.apply(&[put], (1, ROOT)).unwrap();
    assert_eq!(catalogue.all().count(), 1);
}

#[test]
fn a_source_outside_the_query_is_never_shown_whatever_the_cursor() {
    let (_dir, catalogue) = fresh();
    let puts: Vec<_> = (0..40)
        .map(|n| Change::Put(row(n, if n < 20 { "door" } else { "line" }, Kind::Call, i64::from(n), 1)))
        .collect();
    catalogue.apply(&puts, (1, ROOT)).unwrap();
    let sources = BTreeSet::from(["door".parse().unwrap()]);
    for cursor in [
        None,
        Some(Cursor(key::Place { start: at(-5), id: id(0) })),
        Some(Cursor(key::Place { start: at(30), id: id(30) })),
    ] {
        let query =
            Query { sources: &sources, kind: None, from: None, to: None, held: None, limit: 100, cursor };
        let page = catalogue.search(&query, &|_| true).unwrap();
        assert!(page.rows.iter().all(|row| row.source.as_str() == "door"));
        assert!(page.next_cursor.is_none());
    }
}

#[test]
fn inv5_a_page_is_read_between_two_batches_never_across_one() {
    let (_dir, catalogue) = fresh();
    let held = |n| Row { held: true, ..row(n, "door", Kind::Footage, i64::from(n), 1) };
    let put: Vec<_> = (0..30).map(|n| Change::Put(held(n))).collect();
    let remove: Vec<_> = (0..30).map(|n| Change::Remove(id(n))).collect();
    let sources = BTreeSet::from(["door".parse().unwrap()]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for size in 0..200 {
                catalogue.apply(if size % 2 == 0 { &put } else { &remove }, (size, ROOT)).unwrap();
            }
        });
        for _ in 0..200 {
            let query = Query {
                sources: &sources,
                kind: None,
                from: None,
                to: None,
                held: Some(true),
                limit: 100,
                cursor: None,
            };
            let found = catalogue.search(&query, &|_| true).unwrap().rows.len();
            assert!(found == 0 || found == 30, "{found}");
        }
    });
}

#[test]
fn a_second_process_waits_and_is_told_and_destroys_nothing() {
    let (dir, catalogue) = fresh();
    catalogue.apply(&[Change::Put(row(1, "door", Kind::Footage, 0, 5))], (9, ROOT)).unwrap();
    let second = Catalogue::open(&dir.path().join("catalogue"), |_| false);
    assert!(matches!(second, Err(CatalogueError::Locked(_))), "{second:?}");
    assert_eq!(catalogue.all().count(), 1);
}

/// Every answer that a catalogue can give, or the first error.
fn read_everything(catalogue: &Catalogue) -> Result<(Option<Position>, Vec<Row>, usize), CatalogueError> {
    let position = catalogue.position()?;
    let mut rows: Vec<Row> = catalogue.all().collect::<Result<_, _>>()?;
    rows.sort_by_key(|row| row.id);
    for row in &rows {
        assert_eq!(catalogue.get(row.id)?.as_ref(), Some(row));
    }
    let sources = SOURCES.iter().map(|source| source.parse().unwrap()).collect();
    let query = Query {
        sources: &sources,
        kind: None,
        from: None,
        to: None,
        held: None,
        limit: usize::MAX,
        cursor: None,
    };
    let found = catalogue.search(&query, &|_| true)?.rows.len();
    Ok((position, rows, found))
}

#[test]
fn inv5_catalogue_damage_is_an_error_not_a_panic() {
    let (dir, catalogue) = fresh();
    let path = dir.path().join("catalogue");
    let mut model = Model::new();
    let mut at_size = vec![(None, Vec::new())];
    for size in 1..=6_u32 {
        let batch: Vec<_> = (0..80_u32)
            .map(|n| Change::Put(row(n + 80 * size, SOURCES[n as usize % 3], Kind::Footage, i64::from(n), 5)))
            .collect();
        catalogue.apply(&batch, (u64::from(size), ROOT)).unwrap();
        catalogue.flush().unwrap();
        batch.iter().for_each(|change| apply_to_model(&mut model, change));
        at_size.push((Some((u64::from(size), ROOT)), model.values().cloned().collect::<Vec<_>>()));
    }
    drop(catalogue);
    let files: Vec<_> = files_below(&path).into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    let (mut harmless, mut rebuilt) = (0, 0);
    for (whole, file) in &files {
        for step in 0..24_usize {
            let mut damaged = whole.clone();
            let place = whole.len().saturating_mul(step) / 24;
            match (step % 3, damaged.get_mut(place)) {
                (0 | 1, Some(byte)) => *byte ^= 1 << (step % 8),
                _ => damaged.truncate(place),
            }
            // Restore the others: an open may have written to them.
            let _ = fs::remove_dir_all(&path);
            for (bytes, other) in &files {
                fs::create_dir_all(other.parent().unwrap()).unwrap();
                fs::write(other, if other == file { &damaged } else { bytes }).unwrap();
            }
            let opened = Catalogue::open(&path, |_| true).unwrap();
            match read_everything(&opened.catalogue) {
                Ok((position, rows, found)) => {
                    assert_eq!(rows.len(), found, "{file:?} at {place}");
                    assert!(
                        at_size.contains(&(position, rows)),
                        "{file:?} at {place}: an answer that was never right"
                    );
                    if opened.rebuilt.is_some() { rebuilt += 1 } else { harmless += 1 }
                }
                Err(_) => {
                    drop(opened);
                    let again = Catalogue::destroy_and_recreate(&path).unwrap();
                    assert_eq!(again.all().count(), 0);
                    rebuilt += 1;
                }
            }
        }
    }
    assert!(rebuilt > 0, "no damage was noticed; {harmless} were harmless");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
