//! The report that somebody reads who is no engineer: a judge, an inspector, the controller.
//!
//! `document` says what stands in it, `html` and `text` only lay it out. The same ledger gives the same bytes: nothing in it
//! comes from a clock. Must never put out text of the ledger that was not tamed.

mod bins;
mod document;
mod figures;
mod html;
mod text;

use std::io::{self, Write as _};

use super::ledger::{Options, Verdict};
use super::print;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Plain text.
    Text,
    /// One JSON object.
    Json,
    /// One HTML page that needs nothing else.
    Html,
}

/// What the reader needs to know of the check besides its verdict.
#[derive(Debug, Clone)]
pub struct About {
    /// Where the ledger was read, as given.
    pub ledger: String,
    /// The pinned verifier key.
    pub key: String,
    /// Names of the checkpoints brought.
    pub pinned: Vec<String>,
    /// The time of the visit, when it was given.
    pub visit: Option<String>,
}

impl About {
    /// Of a check with these options.
    pub fn of(options: &Options) -> Self {
        Self {
            ledger: options.name(),
            key: options.key.to_string(),
            pinned: options.pinned.iter().map(|(name, _)| name.clone()).collect(),
            visit: options.visit.map(|visit| visit.to_string()),
        }
    }
}

/// The whole report as text of the format.
pub fn report(verdict: &Verdict, about: &About, format: Format) -> String {
    match format {
        Format::Json => format!("{}\n", print::object(verdict, print::Days::Each)),
        Format::Text => text::render(&document::document(verdict, about)),
        Format::Html => html::render(&document::document(verdict, about)),
    }
}

/// The report on standard output.
pub fn print(verdict: &Verdict, about: &About, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(report(verdict, about, format).as_bytes())?;
    out.flush()
}
