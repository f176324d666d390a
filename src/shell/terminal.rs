//! What a person or a script sees on standard output, and how a person writes a time.
//!
//! Owns the three forms of an answer: JSON lines, tab-separated lines, a table fitted to the terminal. Must never let a
//! control character of an answer reach a terminal, and never writes words between data: those go to standard error.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use serde_json::{Map, Value};

use crate::core::time::Timestamp;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line, keys sorted.
    Json,
    /// Cells separated by tabs, no heading: for `cut`, `sort` and `wc`.
    Lines,
    /// A table with a heading, as wide as the terminal.
    Table,
}

impl Form {
    /// JSON when asked for, else what suits standard output.
    pub fn of_stdout(json: bool) -> Self {
        match (json, io::stdout().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Table,
            (false, false) => Self::Lines,
        }
    }
}

/// Several objects of the same shape. `columns` are the keys shown; JSON shows every key.
pub fn rows(form: Form, columns: &[&str], objects: &[Map<String, Value>]) -> String {
    let cells =
        |object: &Map<String, Value>| columns.iter().map(|key| cell(object.get(*key))).collect::<Vec<_>>();
    match form {
        Form::Json => objects.iter().map(json_line).collect(),
        Form::Lines => objects.iter().map(|object| cells(object).join("\t") + "\n").collect(),
        Form::Table if objects.is_empty() => String::new(),
        Form::Table => {
            let mut table = Table::new();
            table
                .load_style(comfy_table::presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(columns.to_vec());
            for object in objects {
                table.add_row(cells(object).iter().map(|text| to_the_second(text)));
            }
            for (at, key) in columns.iter().enumerate() {
                // An id that is broken over two lines cannot be copied.
                if let Some(column) = table.column_mut(at).filter(|_| matches!(*key, "id" | "recording")) {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
            table.trim_fmt() + "\n"
        }
    }
}

/// One object, a key a line. `first` are the keys shown first; the others follow by name.
pub fn facts(form: Form, first: &[&str], object: &Map<String, Value>) -> String {
    if form == Form::Json {
        return json_line(object);
    }
    let rest = object.keys().map(String::as_str).filter(|key| !first.contains(key));
    let keys: Vec<&str> = first.iter().copied().filter(|key| object.contains_key(*key)).chain(rest).collect();
    let width = if form == Form::Table { keys.iter().map(|key| key.len()).max().unwrap_or(0) } else { 0 };
    let line = |key: &&str| match form {
        Form::Table => format!("{key:width$}  {}\n", cell(object.get(*key))),
        _ => format!("{key}\t{}\n", cell(object.get(*key))),
    };
    keys.iter().map(line).collect()
}

/// Writes to standard output. A reader that left (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A time of RFC 3339, or a day, which means its first moment in UTC.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let is_day = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let full = if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    full.parse().map_err(|_| "write 2026-05-12T10:00:00Z, 2026-05-12T12:00:00+02:00 or 2026-05-12".to_owned())
}

/// Text without control characters: a file name or a ground may hold some that would steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_direction_mark(c) { '\u{FFFD}' } else { c }).collect()
}

/// Marks that turn the order of the characters around them and so can make a line read as another.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A time without its fraction, which nobody reads in a table; other text as it is.
fn to_the_second(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, _)) if text.ends_with('Z') && text.parse::<Timestamp>().is_ok() => {
            format!("{seconds}Z")
        }
        _ => text.to_owned(),
    }
}

fn json_line(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).unwrap_or_default() + "\n"
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => clean(text),
        Some(Value::Bool(yes)) => (if *yes { "yes" } else { "no" }).to_owned(),
        Some(other) => clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_time_is_rfc_3339_or_a_day() {
        assert_eq!(time("2026-05-12").unwrap(), time("2026-05-12T02:00:00+02:00").unwrap());
        for bad in ["", "yesterday", "2026-13-01", "12/05/2026"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        let row = object(json!({ "id": "\u{1b}[2Jx\u{202e}y\tz\n" }));
        for form in [Form::Lines, Form::Table] {
            let text = rows(form, &["id"], std::slice::from_ref(&row)) + &facts(form, &[], &row);
            let unexpected = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
            assert!(!text.contains(unexpected), "{text:?}");
        }
        assert_eq!(rows(Form::Lines, &["id"], &[row]).matches(['\t', '\n']).count(), 1);
    }

    #[test]
    fn json_is_one_object_a_line_with_every_key() {
        let list = [object(json!({ "id": "a", "held": true })), object(json!({ "id": "b\nc" }))];
        assert_eq!(rows(Form::Json, &["id"], &list), "{\"held\":true,\"id\":\"a\"}\n{\"id\":\"b\\nc\"}\n");
    }

    #[test]
    fn a_table_keeps_ids_whole_and_times_short() {
        let id = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
        let time = "2026-11-22T00:47:17.571241Z";
        let row = object(json!({ "id": id, "start": time, "end": time, "why": "words ".repeat(40) }));
        let table = rows(Form::Table, &["id", "start", "end", "why"], &[row]);
        assert!(table.contains(id) && table.contains("00:47:17Z") && !table.contains("571241"), "{table}");
        assert_eq!(to_the_second("a.b"), "a.b");
    }

    #[test]
    fn lines_have_one_tab_between_cells_and_empty_cells_for_what_is_absent() {
        let list = [object(json!({ "id": "a", "bytes": 7 }))];
        assert_eq!(rows(Form::Lines, &["id", "kind", "bytes"], &list), "a\t\t7\n");
    }

    #[test]
    fn facts_show_the_named_keys_first() {
        let facts =
            facts(Form::Lines, &["state", "none"], &object(json!({ "entries": 3, "state": "ready" })));
        assert_eq!(facts, "state\tready\nentries\t3\n");
    }
}
