//! The rows: one line each on the terminal, one object each in `summary.json`.

use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::Compared;

/// What a row must reach.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// None is set: the number is for the reader.
    Shown,
}

/// One measurement.
pub struct Row {
    name: String,
    ours: f64,
    /// Absent where the goal is a bound in `unit`, and nothing else was measured.
    against: Option<(&'static str, f64)>,
    unit: &'static str,
    ratio: Option<f64>,
    goal: Goal,
}

impl Row {
    /// Measured side by side with `against`; the goal is for the ratio.
    pub fn compared(
        name: impl Into<String>,
        against: &'static str,
        unit: &'static str,
        found: &Compared,
        goal: Goal,
    ) -> Self {
        let Compared { ours, against: theirs, ratio } = *found;
        Self { name: name.into(), ours, against: Some((against, theirs)), unit, ratio: Some(ratio), goal }
    }

    /// Measured alone; the goal is for the value.
    pub fn alone(name: impl Into<String>, unit: &'static str, ours: f64, goal: Goal) -> Self {
        Self { name: name.into(), ours, against: None, unit, ratio: None, goal }
    }

    fn met(&self) -> bool {
        let value = self.ratio.unwrap_or(self.ours);
        match self.goal {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
            Goal::Shown => true,
        }
    }

    fn has_goal(&self) -> bool {
        !matches!(self.goal, Goal::Shown)
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(least) => format!("at least {least}"),
            Goal::AtMost(most) => format!("at most {most}"),
            Goal::Shown => "no goal".into(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "ours": rounded(self.ours), "against": self.against.map(|(_, value)| rounded(value)),
            "unit": self.unit, "ratio": self.ratio.map(rounded), "goal": self.goal(), "met": self.met(),
        })
    }

    /// Two lines, at once: a row may take a minute.
    fn print(&self) {
        let met = match (self.has_goal(), self.met()) {
            (false, _) => "",
            (true, true) => "met",
            (true, false) => "MISSED",
        };
        println!("{}", self.name);
        match (self.against, self.ratio) {
            (Some((what, theirs)), Some(ratio)) => println!(
                "    {ratio:>8.2}   {met:<7} ({})   {} {} / {}: {}",
                self.goal(),
                readable(self.ours),
                self.unit,
                what,
                readable(theirs)
            ),
            _ => println!("    {:>8}   {met:<7} ({} {})", readable(self.ours), self.goal(), self.unit),
        }
    }
}

/// The rows so far, and what was left out.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Prints the row and keeps it.
    pub fn add(&mut self, row: Row) {
        row.print();
        self.rows.push(row);
    }

    /// Says that a row is left out, and why.
    pub fn skip(&self, name: &str, why: &str) {
        println!("{name}\n    left out: {why}");
    }

    /// Writes `summary.json` and says how many goals are met.
    pub fn finish(&self, file: &Path) -> Outcome<()> {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(&rows)? + "\n")?;
        let goals = || self.rows.iter().filter(|row| row.has_goal());
        let met = goals().filter(|row| row.met()).count();
        println!("\nbench: {met} of {} goals met; written to {}", goals().count(), file.display());
        Ok(())
    }
}

fn rounded(value: f64) -> f64 {
    readable(value).parse().unwrap_or(value)
}

/// Four digits that count.
fn readable(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        v if v >= 1.0 => 3,
        _ => 5,
    };
    format!("{value:.digits$}")
}
