//! `index rebuild`: orders it, and shows on a terminal how far it is.
//!
//! The service makes the catalogue; ending this program does not end that. Must never show a bar where nobody looks: it goes
//! to standard error, and only to a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Map, Value};
use zbus::Connection;

use super::print;
use crate::shell::bus::client::{Failure, ManagerProxy, fields};
use crate::shell::terminal::{self, Form};

/// How often a terminal is shown something new.
const LOOK: Duration = Duration::from_millis(200);
const BAR_WIDTH: u64 = 24;

/// Orders the rebuild and waits for its end.
pub async fn rebuild(bus: &Connection, form: Form) -> Result<u8, Failure> {
    let manager = ManagerProxy::new(bus).await?;
    let ordered = manager.rebuild_index();
    let mut ordered = std::pin::pin!(ordered);
    let terminal = std::io::stderr().is_terminal();
    let rebuilt = loop {
        tokio::select! {
            rebuilt = &mut ordered => break rebuilt,
            () = tokio::time::sleep(LOOK), if terminal => {}
        }
        // Numbers that cannot be had are not worth a word: the answer itself will say what is wrong.
        let status = manager.status().await.map(|status| fields::to_json(&status)).unwrap_or_default();
        if let (Some(done), Some(total)) = (number(&status, "index_done"), number(&status, "index_total")) {
            eprint!("\r{}\u{1b}[K", bar(done, total));
        }
    };
    if terminal {
        eprint!("\r\u{1b}[K");
    }
    rebuilt?;
    let status = fields::to_json(&manager.status().await?);
    let recordings = number(&status, "recordings").unwrap_or(0);
    if form == Form::Json {
        let object = Map::from_iter([("recordings".to_owned(), Value::from(recordings))]);
        print(&terminal::facts(form, &[], &object))?;
    }
    eprintln!("The catalogue is rebuilt from the ledger: {recordings} recordings.");
    Ok(0)
}

fn number(status: &Map<String, Value>, name: &str) -> Option<u64> {
    status.get(name).and_then(Value::as_u64)
}

/// One line for a terminal. Before the recordings are counted there are none.
fn bar(done: u64, total: u64) -> String {
    let filled = done.saturating_mul(BAR_WIDTH).checked_div(total).unwrap_or(0).min(BAR_WIDTH);
    let cells = (0..BAR_WIDTH).map(|cell| if cell < filled { '#' } else { '-' });
    format!("[{}] {done} of {total} recordings", cells.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_empty_before_the_count_and_full_at_the_end() {
        assert!(bar(0, 0).starts_with("[------------------------] 0 of 0"));
        assert!(bar(500, 1000).starts_with("[############------------] 500 of 1000 recordings"));
        assert!(bar(1000, 1000).starts_with("[########################] 1000 of"));
        assert!(bar(u64::MAX, 1).starts_with("[########################]"));
    }
}
