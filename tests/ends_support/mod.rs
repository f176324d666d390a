//! What the tests of ends share: how an end looks to its reader, and in the ledger; and a reader who is blocked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic: that is how a test fails"
)]
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::Receiver;

use rustix::io::Errno;

use super::support::slow::SlowFile;
use super::support::user::{Opened, User};
use super::support::{House, PATIENCE, until};

pub const INCIDENT: [(&str, &str); 1] = [("reason", "incident")];

pub fn errno<T>(read: io::Result<T>) -> Option<Errno> {
    read.err().and_then(|error| Errno::from_io_error(&error))
}

pub fn is_cut(user: &User, opened: &Opened) -> bool {
    errno(user.read(&opened.file, 0, 16)) == Some(Errno::STALE)
}

pub fn session(opened: &Opened) -> String {
    opened.session.rsplit('/').next().unwrap().to_owned()
}

/// What ends a session, by session: event, why, bytes.
pub fn ends(house: &House) -> HashMap<String, (String, String, u64)> {
    const ENDS: [&str; 4] = ["access.closed", "access.expired", "access.revoked", "access.interrupted"];
    let mut ends = HashMap::new();
    for entry in house.durable().iter().filter(|entry| ENDS.contains(&entry.event())) {
        let end = (entry.event().to_owned(), entry.data("why"), entry.number("bytes").unwrap_or_default());
        let twice = ends.insert(entry.get("session"), end);
        assert!(twice.is_none(), "a second end: {}", entry.line);
    }
    ends
}

pub fn end_of(house: &House, opened: &Opened) -> (String, String, u64) {
    until("its end is recorded", || ends(house).remove(&session(opened)))
}

pub fn end(event: &str, why: &str, bytes: u64) -> (String, String, u64) {
    (event.into(), why.into(), bytes)
}

/// A house whose recording `id` lies on a medium that can stand still.
pub fn on_a_slow_medium(house: &House, id: &str) -> SlowFile {
    let object = house.state.join("objects").join(&id[..2]).join(id);
    SlowFile::in_place_of(&object, house.path("slow"))
}

pub fn blocked_read(user: &User, opened: &Opened) -> Receiver<Option<Errno>> {
    let file = opened.file.clone();
    user.start(move |_| {
        use std::os::unix::fs::FileExt as _;
        errno(file.read_at(&mut [0; 100_000], 100_000))
    })
}

/// A reader waits for the medium; `act` ends his session (or gives back who opened it, to stay connected until the end).
pub fn ends_while_blocked(
    house: &House,
    medium: &SlowFile,
    id: &str,
    (account, why): (&str, &str),
    act: impl FnOnce(User, &Opened) -> Option<User>,
) {
    let (opener, viewer) = (house.user(account), house.user(account));
    let opened = opener.open(id, &INCIDENT).unwrap();
    viewer.read(&opened.file, 0, 4096).unwrap();
    medium.stand_still();
    let blocked = blocked_read(&viewer, &opened);
    medium.wait_for_reads(1);
    let _stays = act(opener, &opened);
    // The medium still stands.
    assert_eq!(blocked.recv_timeout(PATIENCE).unwrap(), Some(Errno::STALE), "{why}");
    let found = end_of(house, &opened);
    assert_eq!((found.1.as_str(), found.2), (why, 4096));
    medium.go_on();
}
