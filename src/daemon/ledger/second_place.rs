//! The second place: the last checkpoint, written again elsewhere after its sync, so that it may lag and never lead.
//!
//! A ledger that is behind it, or beside it, was rolled back (design §5).

use std::path::PathBuf;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::Head;
use crate::shell::disk::durable;

/// The task that writes the second copy: the only one, so that no two writers tread on one file.
pub struct SecondPlace {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl SecondPlace {
    /// Follows `head` and writes each to `path`.
    pub fn keep(head: watch::Receiver<Head>, path: PathBuf) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(follow(head, path, stopped)) }
    }

    /// Writes the last head: the last step of a stop, after the writer has ended.
    pub async fn finish(self) {
        let _ended_already = self.stop.send(());
        let _panicked = self.task.await;
    }
}

async fn follow(mut head: watch::Receiver<Head>, path: PathBuf, mut stopped: oneshot::Receiver<()>) {
    loop {
        let stops = tokio::select! {
            changed = head.changed() => changed.is_err(),
            _ = &mut stopped => true,
        };
        let now = head.borrow_and_update().clone();
        write(now, path.clone()).await;
        if stops {
            return;
        }
    }
}

async fn write(head: Head, path: PathBuf) {
    if head.size == 0 {
        return;
    }
    let written = tokio::task::spawn_blocking(move || {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(format!("{} is not the name of a file", path.display()));
        };
        durable::write_file_atomic(dir, name, head.checkpoint.as_bytes())
            .map_err(|error| crate::daemon::errors::chain(&error))
    });
    if let Ok(Err(error)) = written.await {
        log::warn!("the second copy of the checkpoint could not be written, ignoring: {error}");
    }
}
