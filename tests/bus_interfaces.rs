//! The interfaces as installed for other programs, `policy/org.greffier.Archive1.xml`, are what the service says of
//! itself on a bus, and document every member.
#![cfg(feature = "daemon")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

#[path = "cli_bus/service.rs"]
#[expect(dead_code, reason = "the harness serves the tests of the clients too")]
mod service;

use std::collections::BTreeMap;
use std::path::Path;

use greffier::shell::bus::interfaces::{NAME, ROOT};
use service::Service;

const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policy/org.greffier.Archive1.xml");
const HEAD: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<!-- org.greffier.Archive1. Recordings, Retention, Registers, Reviews, Ledger and Manager stand on the root object, Session,
     Hold and Scrub on objects of their own below it; greffier-bus(7) says more. -->
<node>
"#;

/// What the root object and all objects below it say of themselves: each interface once, by name, indented by two.
fn introspected(service: &Service) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let xml: String = runtime.block_on(async {
        let bus = zbus::connection::Builder::address(service.address.as_str()).build().await.unwrap();
        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let reply = bus.call_method(Some(NAME), ROOT, introspectable, "Introspect", &()).await.unwrap();
        reply.body().deserialize().unwrap()
    });
    let mut interfaces = BTreeMap::new();
    let mut lines = xml.lines();
    while let Some(first) = lines.next() {
        let Some((indent, rest)) = first.split_once("<interface name=\"") else { continue };
        let name = rest.split('"').next().unwrap();
        let mut block = vec![first];
        while *block.last().unwrap() != format!("{indent}</interface>") {
            block.push(lines.next().unwrap());
        }
        let moved = block.iter().map(|line| match line.strip_prefix(indent) {
            Some(line) => format!("  {line}\n"),
            None => format!("{line}\n"),
        });
        if name.starts_with(NAME) {
            interfaces.insert(name.to_owned(), moved.collect());
        }
    }
    interfaces
}

#[test]
fn the_installed_interfaces_are_those_of_the_service() {
    let interfaces = introspected(&Service::start(b"", 1));
    let names: Vec<_> = interfaces.keys().map(|name| name.strip_prefix(NAME).unwrap()).collect();
    assert_eq!(
        names,
        [
            ".Hold",
            ".Ledger",
            ".Manager",
            ".Recordings",
            ".Registers",
            ".Retention",
            ".Reviews",
            ".Scrub",
            ".Session"
        ]
    );
    let text = HEAD.to_owned() + &interfaces.into_values().collect::<String>() + "</node>\n";
    if std::fs::read_to_string(INSTALLED).unwrap_or_default() != text {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("org.greffier.Archive1.xml");
        std::fs::write(&now, text).unwrap();
        panic!(
            "the service has other interfaces: look at the difference, then cp {} {INSTALLED}",
            now.display()
        );
    }
}

#[test]
fn every_member_is_documented_and_every_argument_named() {
    let text = std::fs::read_to_string(INSTALLED).unwrap();
    let mut before = "";
    let mut members = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if ["<method ", "<property ", "<signal "].iter().any(|member| line.starts_with(member)) {
            assert!(before.ends_with("-->"), "not documented: {line}");
            members += 1;
        }
        assert!(!line.starts_with("<arg ") || line.contains(" name="), "not named: {line}, after {before}");
        before = line;
    }
    assert!(members >= 20, "{members} members");
}
