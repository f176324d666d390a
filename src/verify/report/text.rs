//! The report as plain text, for a terminal or a file.

use super::document::{Block, Document};

/// Width of lines, in characters.
const WIDTH: usize = 100;

pub(super) fn render(document: &Document) -> String {
    let mut out = format!("{}\n{}\n", document.title, "=".repeat(document.title.chars().count().min(WIDTH)));
    for line in wrap(&document.subtitle, WIDTH) {
        out += &format!("{line}\n");
    }
    out += &format!("\n{}\n", document.verdict.to_uppercase());
    for section in &document.sections {
        out += &format!("\n{}\n{}\n", section.title, "-".repeat(section.title.chars().count()));
        for block in &section.blocks {
            out += &block_text(block);
        }
    }
    out
}

fn block_text(block: &Block) -> String {
    match block {
        Block::Paragraph(text) => wrap(text, WIDTH).into_iter().map(|line| format!("{line}\n")).collect(),
        Block::Code(text) => format!("\n    {text}\n\n"),
        Block::List(items) => items.iter().map(|item| hanging("- ", item)).collect(),
        Block::Facts(facts) => {
            facts.iter().map(|(name, value)| hanging(&format!("{name}: "), value)).collect()
        }
        Block::Table { caption, head, rows } => {
            let mut out = format!("{caption}\n");
            for row in rows {
                let cells: Vec<String> =
                    head.iter().zip(row).map(|(head, cell)| format!("{head}: {cell}")).collect();
                out += &hanging("  ", &cells.join(" · "));
            }
            out
        }
        Block::Chart { bins, says } => {
            let mut out = block_text(&Block::Paragraph(says.clone()));
            let most = bins.bars.iter().map(super::bins::Bar::all_opened).max().unwrap_or(0).max(1);
            for bar in bins.bars.iter().filter(|bar| bar.all_opened() > 0 || bar.refused > 0) {
                let opened = bar.all_opened();
                let length = usize::try_from(opened.saturating_mul(40).div_ceil(most)).unwrap_or(40).min(40);
                out += &format!("  {:<10} {:<40} {opened}", bar.label, "#".repeat(length));
                out +=
                    &if bar.refused > 0 { format!(", {} refused\n", bar.refused) } else { "\n".to_owned() };
            }
            out
        }
    }
}

fn hanging(mark: &str, text: &str) -> String {
    let mut out = String::new();
    for (n, line) in wrap(text, WIDTH.saturating_sub(4)).into_iter().enumerate() {
        out += &if n == 0 { format!("{mark}{line}\n") } else { format!("    {line}\n") };
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = lines
            .last()
            .is_none_or(|line| line.is_empty() || line.chars().count() + word.chars().count() < width);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
