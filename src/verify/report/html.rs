//! The report as one HTML page: no script, nothing from elsewhere, readable on paper and by a screen reader.
//!
//! Every text passes through `maud`, which escapes it. Must never take markup from a document.

use maud::{DOCTYPE, Markup, html};

use super::bins::{Bar, Bins};
use super::document::{Block, Document};

const STYLE: &str = include_str!("report.css");

/// Tones of the series, dark to light, told apart on paper too.
const TONES: [&str; 6] = ["#16324f", "#3f7cac", "#95b8d1", "#b07d2b", "#6b4e71", "#8a8f98"];

pub(super) fn render(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (document.title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (document.title) }
                        p class="subtitle" { (document.subtitle) }
                        p class={ "verdict " (document.tone) } { strong { (document.verdict) } }
                    }
                    @for section in &document.sections {
                        section {
                            h2 { (section.title) }
                            @for block in &section.blocks { (block_html(block)) }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn block_html(block: &Block) -> Markup {
    match block {
        Block::Paragraph(text) => html! { p { (text) } },
        Block::Code(text) => html! { pre { code { (text) } } },
        Block::List(items) => html! { ul { @for item in items { li { (item) } } } },
        Block::Facts(facts) => html! {
            table class="facts" {
                tbody { @for (name, value) in facts { tr { th scope="row" { (name) } td { (value) } } } }
            }
        },
        Block::Table { caption, head, rows } => html! {
            table {
                caption { (caption) }
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody { @for row in rows { tr { @for cell in row { td class=[number(cell)] { (cell) } } } } }
            }
        },
        Block::Chart { bins, says } => chart(bins, says),
    }
}

/// Numbers stand below each other.
fn number(cell: &str) -> Option<&'static str> {
    (!cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit())).then_some("number")
}

const WIDTH: u64 = 760;
const LEFT: u64 = 46;
const TOP: u64 = 10;
const HEIGHT: u64 = 180;
const BELOW: u64 = 44;
/// Hundredths of a unit: places are whole numbers, so that every machine draws the same.
const FINE: u64 = 100;

fn chart(bins: &Bins, says: &str) -> Markup {
    let count = (bins.bars.len() as u64).max(1);
    let step = (WIDTH - LEFT) * FINE / count;
    let thick = (step * 4 / 5).clamp(FINE / 2, 40 * FINE);
    let most = bins.bars.iter().map(Bar::all_opened).max().unwrap_or(0).max(1);
    let most_refused = bins.bars.iter().map(|bar| bar.refused).max().unwrap_or(0).max(1);
    let base = TOP + HEIGHT;
    let total = base + 24 + BELOW + 18;
    let labels_every = bins.bars.len().div_ceil(8).max(1);
    let places =
        bins.bars.iter().zip(0_u64..).map(|(bar, n)| (bar, LEFT * FINE + step * n + (step - thick) / 2));
    let scale = |value: u64, of: u64, height: u64| (value.saturating_mul(height).saturating_mul(FINE)) / of;
    html! {
        figure {
            svg role="img" aria-labelledby="chart-title chart-text" viewBox={ "0 0 " (WIDTH) " " (total) }
                xmlns="http://www.w3.org/2000/svg" {
                title id="chart-title" { "Sessions and refusals over time" }
                desc id="chart-text" { (says) " The table at the end of this page holds the same numbers." }
                @for (value, y) in [(most, TOP), (most / 2, TOP + HEIGHT / 2), (0, base)] {
                    line x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) class="grid" {}
                    @if y == base || value * 2 == most || value == most {
                        text x=(LEFT - 6) y=(y + 4) class="axis end" { (value) }
                    }
                }
                @for (bar, x) in places.clone() {
                    @for (low, value, tone) in stacked(bar) {
                        @let height = scale(low + value, most, HEIGHT) - scale(low, most, HEIGHT);
                        @let y = base * FINE - scale(low + value, most, HEIGHT);
                        rect x=(fine(x)) y=(fine(y)) width=(fine(thick)) height=(fine(height)) fill=(tone) {}
                    }
                    @if bar.refused > 0 {
                        @let height = scale(bar.refused, most_refused, BELOW).max(FINE);
                        rect x=(fine(x)) y=(base + 24) width=(fine(thick)) height=(fine(height)) fill="#a3262a" {}
                    }
                }
                @for (bar, x) in places.step_by(labels_every) {
                    text x=(fine(x)) y=(base + 16) class="axis" { (bar.label) }
                }
                line x1=(LEFT) x2=(WIDTH) y1=(base + 24) y2=(base + 24) class="grid" {}
                text x=(LEFT - 6) y=(base + 24 + BELOW) class="axis end" { (most_refused) }
                text x=(LEFT) y=(total - 4) class="axis" { "above: sessions · below, in red: refusals, on a scale of their own" }
            }
            figcaption {
                p { (says) }
                ul class="legend" {
                    @for (name, tone) in bins.series.iter().zip(TONES) {
                        li { span class="swatch" style={ "background:" (tone) } {} (name) }
                    }
                    li { span class="swatch" style="background:#a3262a" {} "refusals" }
                }
            }
        }
    }
}

/// From the bottom up: what lies below, how much, in which tone.
fn stacked(bar: &Bar) -> Vec<(u64, u64, &'static str)> {
    let mut low = 0_u64;
    let mut parts = Vec::new();
    for (value, tone) in bar.opened.iter().zip(TONES) {
        if *value > 0 {
            parts.push((low, *value, tone));
            low = low.saturating_add(*value);
        }
    }
    parts
}

fn fine(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / FINE, hundredths % FINE)
}
