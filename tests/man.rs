//! The manual pages against the source: every name of the bus, the configuration, the policy, the events and the messages
//! stands in its page, and no page names what does not exist.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

type Names = BTreeSet<String>;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Pages that are not ours and may be named.
const STANDARD: [&str; 12] = [
    "busctl(1)",
    "journalctl(1)",
    "mmap(2)",
    "pkttyagent(1)",
    "polkit(8)",
    "read(2)",
    "sendfile(2)",
    "splice(2)",
    "su(1)",
    "sudo(8)",
    "systemd-creds(1)",
    "systemd.exec(5)",
];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A page without the signs that `man` needs.
fn page(name: &str) -> String {
    read(&format!("man/{name}")).replace("\\-", "-").replace("\\(dq", "\"")
}

/// A source file without its tests.
fn source(name: &str) -> String {
    let text = read(name);
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// What stands between `from` and the next `to` after it, or the end.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    rest.split(to).next().unwrap_or_default()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The words that follow `before` each time.
fn after(text: &str, before: &str) -> Names {
    text.split(before).skip(1).map(word).filter(|word| !word.is_empty()).collect()
}

/// The text in quotes that is the first argument of each call.
fn quoted_after(text: &str, call: &str) -> Names {
    let first = text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    first.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The tags of a part of a page: what stands under `.TP`, one or several on a line.
fn tags(part: &str) -> Names {
    let heads = part.split("\n.TP").skip(1).filter_map(|item| item.lines().nth(1));
    let words = heads.flat_map(|line| line.split([' ', ',', '"']).skip(1).map(str::to_owned));
    words.filter(|word| !word.is_empty()).collect()
}

fn camel(name: &str) -> String {
    let part = |part: &str| part.chars().next().unwrap().to_ascii_uppercase().to_string() + &part[1..];
    name.split('_').map(part).collect()
}

#[test]
fn greffier_bus_7_has_every_method_property_and_signal_and_no_other() {
    let page = page("greffier-bus.7");
    let mut in_code = Names::new();
    for file in ["ledger", "manager", "recordings", "registers", "retention", "reviews", "scrub"] {
        let text = source(&format!("src/shell/bus/interfaces/{file}.rs"));
        for block in text.split("#[zbus::interface(name = \"").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            let interface = block.split('"').next().unwrap().rsplit('.').next().unwrap().to_uppercase();
            let section = between(&page, &format!("\n.SH {interface}\n"), "\n.SH ").to_owned();
            for (before, name) in
                block.match_indices("async fn ").map(|(at, _)| (&block[..at], word(&block[at + 9..])))
            {
                let name = camel(&name);
                let attribute = before.lines().rev().nth(1).unwrap_or_default();
                let written = if attribute.contains("property") {
                    format!("\n.BR {name} \", property \"")
                } else {
                    format!("\n\\fB{name}\\fP(")
                };
                assert!(section.contains(&written), "{interface} lacks {name}");
                in_code.insert(name);
            }
        }
    }
    let in_page: Names = page
        .lines()
        .filter_map(|line| line.strip_prefix("\\fB")?.split_once("\\fP("))
        .map(|m| m.0.to_owned())
        .collect();
    let properties: Names = page
        .lines()
        .filter_map(|line| line.strip_prefix(".BR ")?.split_once(" \", property"))
        .map(|m| m.0.to_owned())
        .collect();
    assert!(in_code.len() > 20, "{in_code:?}");
    assert_eq!(in_page.union(&properties).cloned().collect::<Names>(), in_code);
}

#[test]
fn greffier_bus_7_has_every_key_where_it_belongs_and_no_other() {
    let (wire, page) = (source("src/shell/bus/wire.rs"), page("greffier-bus.7"));
    for (method, functions) in [
        ("Search", &["filter", "row"][..]),
        ("Open", &["open_request", "opened"]),
        ("Seal", &["seal_request"]),
        ("Info", &["session"]),
        ("Plan", &["plan_row"]),
        ("PlanDetails", &["detail_plan_row"]),
        ("Run", &["run_report"]),
        ("Hold", &["hold_request"]),
        ("Lift", &["lift_request"]),
        ("Pending", &["review_row"]),
        ("Done", &["review_request"]),
        ("Read", &["read_request"]),
        ("Status", &["status"]),
        ("RotateKeys", &["rotate_request"]),
        ("BackupKeys", &["backup_request"]),
        ("CheckBackup", &["check_backup_request"]),
        ("Scrub", &["scrub_request"]),
        ("Findings", &["scrub_finding"]),
    ] {
        let section = between(&page, &format!("\n\\fB{method}\\fP("), "\n\\fB");
        let section = section.split("\n.SS ").next().unwrap().split("\n.SH ").next().unwrap();
        let mut keys = Names::new();
        for function in functions {
            let body = between(&wire, &format!("\npub fn {function}("), "\n}\n");
            for before in [".text(\"", ".time(\"", ".take(\"", " (\"", "dict([(\""] {
                keys.extend(after(body, before));
            }
        }
        let typed = |line: &str| {
            ["s", "b", "t", "as", "a(tt)"].iter().any(|kind| line.ends_with(&format!(" {kind}")))
        };
        let listed: Names = section
            .lines()
            .filter(|line| line.starts_with(".B ") && typed(line))
            .map(|line| word(&line[3..]))
            .collect();
        assert_eq!(listed, keys, "keys of {method}: page (left), code");
    }
}

#[test]
fn greffier_bus_7_has_every_error_and_no_other() {
    let code = between(&source("src/shell/bus/wire.rs"), "pub enum BusError {", "\n}\n").to_owned();
    let errors: Names =
        code.lines().filter_map(|line| line.trim().strip_suffix("(String),")).map(str::to_owned).collect();
    assert!(errors.contains("NotFound"));
    assert_eq!(tags(between(&page("greffier-bus.7"), "\n.SH ERRORS", "\n.SH ")), errors);
}

#[test]
fn greffier_toml_5_has_every_key_and_no_other() {
    let (code, page) = (source("src/daemon/config.rs"), page("greffier.toml.5"));
    let keys = between(&page, "\n.SH KEYS", "\n.SH ");
    for (structure, section) in [
        ("Config", "At the top"),
        ("Bus", "[bus]"),
        ("Key", "[key]"),
        ("Limits", "[limits]"),
        ("Ledger", "[ledger]"),
        ("Scrub", "[scrub]"),
    ] {
        let body = between(&code, &format!("pub struct {structure} {{"), "\n}\n");
        let mut fields = after(body, "    pub ");
        for table in ["bus", "key", "limits", "ledger", "scrub"].iter().filter(|_| structure == "Config") {
            assert!(fields.remove(*table), "{table}");
        }
        assert_eq!(tags(between(keys, &format!("\n.SS {section}"), "\n.SS ")), fields, "{section}");
        let template = read("policy/greffier.toml.init") + "credential insecure_key_file";
        for field in fields {
            assert!(template.contains(&field), "policy/greffier.toml.init lacks {field}");
        }
    }
}

#[cfg(feature = "daemon")]
#[test]
fn greffier_toml_5_has_the_defaults_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("greffier.toml");
    fs::write(&path, "origin = \"a.example/g\"\n[key]\ncredential = \"greffier.master\"\n").unwrap();
    let config = greffier::daemon::config::Config::load(&path).unwrap();
    let page = page("greffier.toml.5");
    let of = |key: &str| between(&page, &format!("\n.B {key}\n"), "\n.TP").to_owned();
    for (key, default) in [
        ("policy", config.policy.display().to_string()),
        ("state_dir", config.state_dir.display().to_string()),
        ("spool_dir", config.spool_dir.display().to_string()),
        ("run_dir", config.run_dir.display().to_string()),
        ("address", config.bus.address),
        ("polkit", config.bus.polkit.to_string()),
        ("allow_switched_user", config.bus.allow_switched_user.to_string()),
        ("session_max", config.limits.session_max.to_string()),
        ("spool_settle_ms", config.limits.spool_settle_ms.to_string()),
        ("emergency_review", config.limits.emergency_review.to_string()),
        ("refused_keep", config.limits.refused_keep.to_string()),
        ("min_free_bytes", config.limits.min_free_bytes.to_string()),
        ("warn_free_bytes", config.limits.bounds().warn_bytes.to_string()),
        ("serve_free_bytes", config.limits.bounds().serve_bytes.to_string()),
        ("reserve_bytes", config.limits.reserve_bytes().to_string()),
        ("rekey", config.ledger.rekey.to_string()),
        ("heartbeat", config.ledger.heartbeat.to_string()),
        ("details_keep", config.ledger.details_keep.to_string()),
        ("rate_mib_s", config.scrub.rate_mib_s.to_string()),
    ] {
        let text = of(key);
        let said = text.rsplit_once("efault").map_or(text.as_str(), |(_, said)| said);
        assert!(said.contains(&default) || text.contains(&format!("\"{default}\"")), "{key}: {default}");
    }
}

#[test]
fn greffier_policy_5_has_every_key_of_every_table() {
    let page = page("greffier-policy.5");
    let code: String =
        ["items", "rule_items", "terms"].map(|file| source(&format!("src/core/policy/{file}.rs"))).concat();
    for (table, functions) in [
        ("reasons", &["reason"][..]),
        ("purposes", &["purpose"]),
        ("classes", &["class", "period_start"]),
        ("sources", &["source"]),
        ("roles", &["role"]),
        ("incompatible", &["incompatible"]),
        ("grants", &["grant", "limits", "days_of_a_grant"]),
        ("denies", &["deny", "limits"]),
    ] {
        let section = between(&page, &format!("\n.SS [{table}]\n"), "\n.S");
        let listed = tags(section);
        for function in functions {
            let body = between(&code, &format!("fn {function}("), "\n}\n");
            for method in [
                "require",
                "text",
                "flag",
                "set",
                "period",
                "parsed",
                "date",
                "reference",
                "references",
                "count",
                "one_or_more",
                "nested",
            ] {
                let keys = after(body, &format!(".{method}(\""));
                assert!(keys.is_subset(&listed), "[{table}] lacks one of {keys:?}");
            }
        }
    }
    let top = between(&source("src/core/policy/parse.rs"), "\nconst TOP: ", "];\n").to_owned();
    let keys: Names = top.lines().filter_map(|line| line.trim().strip_prefix('"')).map(word).collect();
    assert!(keys.contains("controller"));
    let listed = tags(between(&page, "\n.SS At the top of a file", "\n.SS "));
    let is_table = |key: &String| page.contains(&format!("\n.SS [{key}]\n"));
    let missing: Vec<_> = keys.iter().filter(|key| !listed.contains(*key) && !is_table(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for key in ["version", "reference"] {
        assert!(page.contains(&format!("\" {key}\"")), "the nested key {key}");
    }
}

#[test]
fn greffier_policy_5_names_every_rule_of_the_program() {
    let page = page("greffier-policy.5");
    let mut rules = Names::new();
    for folder in ["src/core/policy", "src/core/register", "src/daemon", "src/daemon/registers"] {
        for file in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            if file.ends_with(".rs") {
                let text = source(&format!("{folder}/{file}"));
                rules.extend(quoted_after(&text, "RuleId::builtin("));
                rules.extend(quoted_after(&text, "refused_because("));
                rules.extend(quoted_after(&text, "denied("));
                rules.extend(quoted_after(&text, "clashes("));
            }
        }
    }
    assert!(rules.len() > 6, "{rules:?}");
    for rule in rules {
        assert!(page.contains(&format!("builtin.{rule}\n")), "builtin.{rule} is not in the page");
    }
}

#[test]
fn greffier_ledger_5_has_the_data_keys_of_every_event_and_every_key_of_the_detail() {
    let data = source("src/core/event/data.rs") + &source("src/core/event/registers.rs");
    let (list, page) = (source("src/core/event/list.rs"), page("greffier-ledger.5"));
    let fields = |text: &str, structure: &str| -> Vec<String> {
        let body = between(text, &format!("{structure} {{"), "}\n");
        let mut absent = false;
        let mut fields = Vec::new();
        for line in body.lines().map(str::trim) {
            absent |= line.starts_with("#[serde(default");
            if let Some((name, _)) = line.split_once(": ").filter(|_| !line.starts_with(['/', '#'])) {
                fields.push(name.trim_start_matches("pub ").to_owned() + if absent { "?" } else { "" });
                absent = false;
            }
        }
        fields
    };
    let events = between(&list, "\nevents! {", "\n}\n");
    let mut seen = 0;
    for line in events.lines().map(str::trim).filter(|line| line.ends_with(';')) {
        let structure = between(line, "(", ")");
        let event = between(line, "\"", "\"");
        let told = between(&page, &format!("\n.TP\n.B {event}\n"), "\n.TP\n").to_owned() + "\n";
        let expected = match fields(&data, structure).join(", ") {
            none if none.is_empty() => "\nNo data.\n".to_owned(),
            keys => format!("\nData:\n.I {keys}\n"),
        };
        assert!(told.contains(&expected), "{event} has {expected}");
        seen += 1;
    }
    assert!(seen > 25, "{seen}");
    let detail = between(&page, "\n.SH DETAIL", "\n.SH ");
    let code = source("src/core/event/detail.rs");
    for structure in ["pub struct Who", "pub struct Detail"] {
        for key in fields(&code, structure) {
            let key = key.trim_end_matches('?');
            let named =
                |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_') == key;
            assert!(detail.split_whitespace().any(named), "DETAIL lacks {key}");
        }
    }
}

#[test]
fn greffierctl_1_lists_every_code_of_doctor_with_its_severity() {
    let page = page("greffierctl.1");
    let section = between(&page, "\n.SH FINDINGS OF DOCTOR", "\n.SH ");
    let items: Vec<&str> = section.split("\n.TP\n.B ").skip(1).collect();
    let listed: Vec<(&str, &str)> = items
        .iter()
        .map(|item| {
            let (code, rest) = item.split_once('\n').unwrap();
            (code, rest.split(": ").next().unwrap())
        })
        .collect();
    let codes: Vec<(&str, &str)> =
        greffier::core::doctor::CODES.iter().map(|(code, severity)| (*code, severity.as_str())).collect();
    assert_eq!(listed, codes);
}

#[test]
fn greffierd_8_lists_every_message_id() {
    let page = page("greffierd.8");
    let ids = after(&source("src/shell/message_id.rs"), "MessageId(\"");
    assert!(ids.len() > 10, "{ids:?}");
    assert!(ids.is_subset(&tags(between(&page, "\n.SH JOURNAL", "\n.SH "))), "{ids:?}");
}

/// The names of our pages, as `name(section)`, with their texts.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(Path::new(ROOT).join("man")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .map(|file| {
            let (name, section) = file.rsplit_once('.').unwrap();
            (format!("{name}({section})"), page(&file))
        })
        .collect()
}

#[test]
fn every_page_that_is_named_exists() {
    let pages = pages();
    let mut known: Names = STANDARD.map(str::to_owned).into();
    known.extend(pages.iter().map(|(name, _)| name.clone()));
    for (name, text) in &pages {
        for line in text.lines().filter_map(|line| line.strip_prefix(".BR ")) {
            let mut words = line.split(' ');
            let (Some(named), Some(section)) = (words.next(), words.next()) else { continue };
            if let Some((number, _)) = section.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
                let named = format!("{named}({number})");
                assert!(known.contains(&named), "{name} names {named}");
                assert!(
                    named != *name || !text.contains(&format!("SEE ALSO\n.BR {named}")),
                    "{name} names itself"
                );
            }
        }
        assert!(text.contains("\n.SH SEE ALSO\n"), "{name} says not what else to read");
    }
    let ours: Names = ["greffierd(8)", "greffierctl(1)", "greffier-view(1)", "greffier-verify(1)"]
        .map(str::to_owned)
        .into();
    assert!(ours.is_subset(&known), "each program has its page");
}

#[test]
fn the_architecture_names_tests_of_each_invariant_that_exist() {
    let page = read("docs/architecture.md");
    for number in 1..=12 {
        let row = page.lines().find(|line| line.starts_with(&format!("| {number} ")));
        let row = row.unwrap_or_else(|| panic!("no row for invariant {number}"));
        let tested = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let files: Vec<&str> = tested.split('`').filter(|name| name.ends_with(".rs")).collect();
        assert!(!files.is_empty(), "{row}");
        for file in files.into_iter().filter(|file| *file != "tests/rooms.rs") {
            assert!(
                read(file).contains(&format!("fn inv{number}_")),
                "{file} has no test of invariant {number}"
            );
        }
    }
}

#[test]
fn no_page_holds_a_path_of_the_machine_that_made_it() {
    let documents = ["README.md", "docs/architecture.md", "docs/threat-model.md", "docs/decisions.md"];
    let texts = pages().into_iter().chain(documents.map(|name| (name.to_owned(), read(name))));
    for (name, text) in texts {
        for path in [ROOT, "/home/", "target/debug"] {
            assert!(!text.contains(path), "{name} names {path}");
        }
    }
}
