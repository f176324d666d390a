//! The manual pages list every finding and every event, and say the same of them as the code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use greffier::core::event::Event;
use greffier::verify::Code;

/// The page without the signs that `man` needs, and the text under each tag.
fn tags(page: &str) -> Vec<(String, String)> {
    let page = page.replace("\\-", "-");
    page.split("\n.TP\n.B ")
        .skip(1)
        .filter_map(|item| item.split_once('\n'))
        .map(|(tag, text)| (tag.to_owned(), text.to_lowercase()))
        .collect()
}

#[test]
fn greffier_verify_1_lists_every_finding() {
    let tags = tags(include_str!("../man/greffier-verify.1"));
    for code in Code::ALL {
        let found = tags.iter().find(|(tag, _)| tag == code.name());
        let (_, text) = found.unwrap_or_else(|| panic!("{} is not in the page", code.name()));
        assert!(text.starts_with(&format!("{}.", code.meaning().to_lowercase())), "{}: {text}", code.name());
    }
}

#[test]
fn greffier_ledger_5_lists_every_event_with_its_detail_rule() {
    let tags = tags(include_str!("../man/greffier-ledger.5"));
    for (name, rule) in Event::LIST {
        let found = tags.iter().find(|(tag, _)| tag == name);
        let (_, text) = found.unwrap_or_else(|| panic!("{name} is not in the page"));
        assert!(text.contains(&format!("detail {rule:?}.").to_lowercase()), "{name}: {text}");
    }
    let listed = tags.iter().filter(|(tag, _)| tag.contains('.')).count();
    assert_eq!(listed, Event::LIST.len(), "the page lists an event that is none");
}
