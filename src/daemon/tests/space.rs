//! What is promised to seals under way, in the whole daemon.

use super::*;
use crate::core::space::Bounds;

const NO_BOUND: Bounds = Bounds { warn_bytes: 0, seal_bytes: 0, serve_bytes: 0 };

#[test]
fn a_file_waits_while_the_free_bytes_are_promised_to_another_and_every_end_gives_them_back() {
    with_archive(async |archive, _| {
        let (service, dir) = (&archive.service, archive.dir.path());
        let objects = || service.store.list().count();
        let before = objects();
        // A large file is being sealed beside it.
        let other = service.space.promise(1 << 60, &NO_BOUND, || Ok(u64::MAX)).unwrap().unwrap();
        assert!(matches!(try_to_seal(service, dir, true).await, Err(SealError::Space)));
        assert_eq!(objects(), before);
        drop(other);

        assert!(matches!(try_to_seal(service, dir, false).await, Err(SealError::Changed)));
        assert_eq!(service.space.promised_bytes(), 0, "after a seal that failed");
        try_to_seal(service, dir, true).await.unwrap();
        assert_eq!((service.space.promised_bytes(), objects()), (0, before + 1));
    });
}
