//! Facts as data, one thing wrong at a time.

use super::*;
use crate::core::medium::{Medium, MediumFacts, judge_medium};

fn on(magic: u64) -> Medium {
    judge_medium(&MediumFacts { magic, ..MediumFacts::default() })
}

/// An archive with nothing to say about.
fn sound() -> Facts {
    let node = |path: &str, role, kind, mode| Node { path: path.into(), role, kind, mode, uid: 0 };
    let at = |text: &str| Some(text.parse().unwrap());
    Facts {
        places: PlaceFacts {
            state_dir: "/var/lib/greffier".into(),
            nodes: vec![
                node("/var/lib/greffier", Role::Private, NodeKind::Directory, 0o700),
                node("/etc/greffier", Role::Directory, NodeKind::Directory, 0o755),
                node("/etc/greffier/policy.toml", Role::File, NodeKind::File, 0o644),
                node("/var/spool/greffier/entrance", Role::SpoolFolder, NodeKind::Directory, 0o1730),
            ],
            medium: Some(on(0xEF53)),
            free_bytes: Some(5 << 30),
            bounds: crate::core::space::Bounds::default(),
            spool: Some(("/var/spool/greffier".into(), true)),
            ..PlaceFacts::default()
        },
        keys: KeyFacts {
            generation: Some(1),
            half: Some(0),
            damaged: Some(0),
            left_by_rotation: Some(Vec::new()),
            master: Some(Secret::Credential {
                name: "greffier.master".into(),
                file: Some("/etc/credstore.encrypted/greffier.master".into()),
            }),
            ..KeyFacts::default()
        },
        ledger: Some(LedgerFacts {
            entries: 9,
            last: at("2026-05-12T10:00:00Z"),
            second_path: "/mnt/checkpoint".into(),
            second_entries: Some(9),
            catalogue_entries: Some(9),
            ..LedgerFacts::default()
        }),
        system: SystemFacts {
            now: at("2026-05-12T10:00:01Z"),
            synchronised: Some(true),
            system_bus: true,
            bus_policy: Some(BusPolicy::Same("/usr/share/dbus-1/system.d/x".into())),
            polkit: Some((true, true)),
            polkit_actions: Some(BusPolicy::Same("/usr/share/polkit-1/actions/x".into())),
            systemd: true,
            unit: UnitFacts {
                path: Some("/usr/lib/systemd/system/greffierd.service".into()),
                as_shipped: true,
                enabled: true,
                drop_ins: vec![("a.conf".into(), "[Service]\nReadWritePaths=/mnt\n".into())],
            },
            fuse: true,
            core_pattern: Some(String::new()),
            service: Some(("ready".into(), String::new())),
            ..SystemFacts::default()
        },
        not_looked_at: Vec::new(),
    }
}

type Spoil = fn(&mut Facts);

/// Each way to be wrong, and the code that it must give, alone.
const CASES: [(&str, Spoil); 49] = [
    ("not-initialised", |facts| facts.places.unusable = Some(("not-initialised", "no state".into()))),
    ("format-newer", |facts| facts.places.unusable = Some(("format-newer", "format 2".into()))),
    ("state-unusable", |facts| facts.places.unusable = Some(("state-unusable", "why".into()))),
    ("missing", |facts| facts.places.nodes[2].kind = NodeKind::Missing),
    ("wrong-kind", |facts| facts.places.nodes[0].kind = NodeKind::Other),
    ("wrong-kind", |facts| facts.places.nodes[2].kind = NodeKind::Directory),
    ("wrong-owner", |facts| facts.places.nodes[1].uid = 5),
    ("exposed", |facts| facts.places.nodes[0].mode = 0o750),
    ("writable-by-others", |facts| facts.places.nodes[1].mode = 0o775),
    ("writable-by-others", |facts| facts.places.nodes[2].mode = 0o646),
    ("spool-mode", |facts| facts.places.nodes[3].mode = 0o1777),
    ("spool-mode", |facts| facts.places.nodes[3].mode = 0o730),
    ("spool-clear", |facts| facts.places.spool = Some(("/spool".into(), false))),
    ("medium-not-in-place", |facts| {
        facts.places.medium = Some(on(0x9123_683E));
    }),
    ("space-low", |facts| facts.places.free_bytes = Some((2 << 30) - 1)),
    ("space-short", |facts| facts.places.free_bytes = Some((1 << 30) - 1)),
    ("key-copy-missing", |facts| facts.keys.copies_missing = vec!["/var/lib/greffier/keys/1.b".into()]),
    ("key-copy-bad", |facts| facts.keys.half = Some(1)),
    ("key-damaged", |facts| facts.keys.damaged = Some(1)),
    ("key-damaged", |facts| facts.keys.generation = None),
    ("rotation-unfinished", |facts| {
        facts.keys.left_by_rotation = Some(vec!["/var/lib/greffier/keys/2.a.new".into()]);
    }),
    ("key-plain", |facts| facts.keys.master = Some(Secret::Plain { path: "/k".into(), mode: Some(0o600) })),
    ("credential-missing", |facts| facts.keys.master = Some(Secret::Plain { path: "/k".into(), mode: None })),
    ("credential-missing", |facts| {
        facts.keys.master = Some(Secret::Credential { name: "greffier.master".into(), file: None });
    }),
    ("ledger-unusable", |facts| facts.ledger.as_mut().unwrap().unusable = Some("tail".into())),
    ("recordings-damaged", |facts| facts.ledger.as_mut().unwrap().damaged = 2),
    ("clock-suspect", |facts| facts.ledger.as_mut().unwrap().clock_suspect = true),
    ("second-missing", |facts| facts.ledger.as_mut().unwrap().second_entries = None),
    ("second-behind", |facts| facts.ledger.as_mut().unwrap().second_entries = Some(8)),
    ("second-same-disk", |facts| facts.ledger.as_mut().unwrap().second_same_disk = true),
    ("catalogue-anew", |facts| facts.ledger.as_mut().unwrap().catalogue_entries = Some(3)),
    ("catalogue-anew", |facts| facts.ledger.as_mut().unwrap().catalogue_entries = None),
    ("clock-unsynchronised", |facts| facts.system.synchronised = Some(false)),
    ("clock-behind", |facts| facts.system.now = Some("2026-05-12T09:59:59Z".parse().unwrap())),
    ("bus-policy-missing", |facts| facts.system.bus_policy = Some(BusPolicy::Missing)),
    ("bus-policy-differs", |facts| facts.system.bus_policy = Some(BusPolicy::Differs("/x".into()))),
    ("polkit-absent", |facts| facts.system.polkit = Some((true, false))),
    ("polkit-actions-missing", |facts| facts.system.polkit_actions = Some(BusPolicy::Missing)),
    ("polkit-actions-differ", |facts| facts.system.polkit_actions = Some(BusPolicy::Differs("/x".into()))),
    ("no-systemd", |facts| facts.system.systemd = false),
    ("unit-missing", |facts| facts.system.unit.path = None),
    ("unit-differs", |facts| facts.system.unit.as_shipped = false),
    ("unit-weakened", |facts| facts.system.unit.drop_ins[0].1 = "ProtectSystem=no".into()),
    ("unit-not-enabled", |facts| facts.system.unit.enabled = false),
    ("fuse-missing", |facts| facts.system.fuse = false),
    ("swap-clear", |facts| facts.system.clear_swap = vec!["/dev/sda3".into()]),
    ("core-dumps", |facts| facts.system.core_pattern = Some("core".into())),
    ("service-degraded", |facts| facts.system.service = Some(("degraded".into(), "why".into()))),
    ("service-closed", |facts| facts.system.service = Some(("closed".into(), "why".into()))),
];

#[test]
fn nothing_is_said_of_a_sound_archive() {
    assert_eq!(judge(&sound()), []);
}

#[test]
fn each_thing_that_is_wrong_gives_its_finding_and_no_other() {
    for (code, spoil) in CASES {
        let mut facts = sound();
        spoil(&mut facts);
        let found = judge(&facts);
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [code]);
        let finding = &found[0];
        assert!(
            !finding.to.is_empty() && !finding.what.is_empty() && !finding.next.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn every_code_can_be_found_and_the_worst_comes_first() {
    let mut seen: std::collections::BTreeSet<&str> = CASES.iter().map(|(code, _)| *code).collect();
    let mut facts = sound();
    facts.keys.master = Some(Secret::Plain { path: "/k".into(), mode: Some(0o644) });
    facts.not_looked_at = vec![("ledger".into(), "greffierd runs".into())];
    facts.system.synchronised = Some(false);
    let found = judge(&facts);
    seen.extend(found.iter().map(|finding| finding.code));
    assert!(found.is_sorted_by_key(|finding| finding.severity), "{found:?}");
    assert_eq!(found[0].code, "key-exposed");
    let listed: std::collections::BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!((seen, listed.len()), (listed, CODES.len()));
}

#[test]
fn what_was_not_looked_at_is_not_judged() {
    let nothing = Facts {
        system: SystemFacts {
            fuse: true,
            systemd: true,
            unit: sound().system.unit,
            ..SystemFacts::default()
        },
        keys: KeyFacts { generation: Some(1), ..KeyFacts::default() },
        ..Facts::default()
    };
    assert_eq!(judge(&nothing), []);
}

#[test]
fn a_drop_in_is_weak_where_it_takes_back_what_the_unit_forbids() {
    let unit = include_str!("../../../systemd/greffierd.service");
    let without_lists = |line: &&str| {
        ["Capability", "SystemCallFilter", "DeviceAllow", "ExecStart"]
            .iter()
            .all(|list| !line.starts_with(list))
    };
    let as_shipped: String = unit.lines().filter(without_lists).map(|line| format!("{line}\n")).collect();
    assert_eq!(weakens(&as_shipped), Vec::<String>::new(), "the unit itself takes nothing back");
    for weak in [
        "NoNewPrivileges=no",
        " ProtectSystem = full ",
        "ProtectHome=",
        "LimitCORE=infinity",
        "CapabilityBoundingSet=",
        "CapabilityBoundingSet=~CAP_KILL",
        "AmbientCapabilities=CAP_NET_ADMIN",
        "SystemCallFilter=@debug",
        "SystemCallFilter=",
        "DeviceAllow=/dev/sda rw",
        "PrivateNetwork=false",
        "ExecStart=/usr/bin/other",
        "UMask=0022",
    ] {
        assert_eq!(weakens(&format!("[Service]\n{weak}\n")), [weak.trim()], "{weak}");
    }
    for fine in [
        "# NoNewPrivileges=no",
        "NoNewPrivileges=true",
        "ReadWritePaths=/mnt",
        "SystemCallFilter=~@mount",
        "Nice=5",
    ] {
        assert_eq!(weakens(&format!("[Service]\n{fine}\n")), Vec::<String>::new(), "{fine}");
    }
}
