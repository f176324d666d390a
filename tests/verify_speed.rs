//! How fast a ledger with details is verified, against nothing but hashing its bytes on two threads (design §14). Not run by
//! default: `cargo test --release --no-default-features --test verify_speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_precision_loss, reason = "figures for a person")]

mod ledger_support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greffier::core::ledger::entry::Outcome;
use greffier::verify::{Options, Source, verify_ledger};
use ledger_support::story::long_story;
use ledger_support::{Site, files_of, raw};
use sha2::{Digest as _, Sha256};

const ENTRIES: u64 = 200_000;
const ROUNDS: usize = 7;

/// Searches as a house of many guards writes them.
fn searches() -> Site {
    let mut site = Site::new();
    let policy = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let who = "uid 1000, user camille, pid 4321, exe /usr/bin/greffier-view, login uid 1000, bus name :1.234, rule guard-views, \
               asked for the entrance between nine and ten";
    while site.size() < ENTRIES {
        site.add_with_detail("access.searched", who, |entry| {
            entry.outcome = Outcome::Granted;
            entry.reason = "incident".parse().ok();
            entry.policy = policy.parse().ok();
            entry.data = raw(r#"{"what":"search","sources":["entrance"]}"#);
        });
    }
    site
}

#[expect(clippy::disallowed_methods, reason = "the only thing measured here is time")]
fn timed(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn hash_on_two_threads(bytes: &[u8]) {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| black_box(Sha256::digest(a)));
        black_box(Sha256::digest(b));
    });
}

#[test]
#[ignore = "takes a quiet machine"]
fn verifying_against_hashing_the_same_bytes() {
    let site = searches();
    let memory = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(if memory.exists() { memory } else { Path::new("/tmp") }).unwrap();
    site.export(dir.path(), true);
    let bytes = files_of(dir.path()).into_values().collect::<Vec<_>>().concat();
    let mib = bytes.len() as f64 / f64::from(1 << 20);
    let options = Options::new(Source::Path(dir.path().to_owned()), site.log.public.clone());
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let hashing = timed(|| hash_on_two_threads(&bytes));
        let verifying = timed(|| {
            let verdict = verify_ledger(&options).unwrap();
            assert_eq!((verdict.exit_code(), verdict.summary.entries), (0, ENTRIES));
            assert_eq!(verdict.summary.details_matched, ENTRIES - 1);
        });
        let ratio = hashing.as_secs_f64() / verifying.as_secs_f64();
        println!(
            "{mib:.0} MiB: verified {:.0} MiB/s, hashed {:.0} MiB/s, ratio {ratio:.2}",
            mib / verifying.as_secs_f64(),
            mib / hashing.as_secs_f64()
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ROUNDS / 2]);
}

#[test]
#[ignore = "takes a quiet machine"]
fn a_small_ledger_in_memory() {
    let site = long_story();
    let dir = tempfile::tempdir().unwrap();
    site.export(dir.path(), true);
    let options = Options::new(Source::Memory(Arc::new(files_of(dir.path()))), site.log.public.clone());
    let rounds = 200;
    let all = timed(|| (0..rounds).for_each(|_| assert_eq!(verify_ledger(&options).unwrap().exit_code(), 0)));
    println!("600 entries in memory: {:?} each", all / rounds);
}
