//! Who may do what: every role × every method of every interface, asked on a real bus by real accounts. What comes out is the
//! table in `docs/roles.md`; each call leaves exactly one decision in the ledger (invariant 2).
//!
//! The methods are read from the installed interfaces: a new one without a row here fails. `GREFFIER_WRITE_ROLES=1` writes the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use support::durable::Entry;
use support::user::{Client, Keys, ROOT, Refused, keys, number};
use support::{House, noise};
use zbus::wire::{OwnedFd, Variant};

const INTERFACES: &str = include_str!("../policy/org.greffier.Archive1.xml");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/roles.md");
const SCRUB: &str = "/org/greffier/Archive1/scrub";

/// One person for each role, and the account that plays it here.
const ROLES: [(&str, &str); 12] = [
    ("viewer", "games"),
    ("trainer", "lp"),
    ("recorder", "backup"),
    ("controller", "sys"),
    ("auditor", "news"),
    ("technician", "daemon"),
    ("approver", "mail"),
    ("mandate keeper", "www-data"),
    ("register keeper", "man"),
    ("reviewer", "proxy"),
    ("nobody", "nobody"),
    ("root", "root"),
];

const POLICY: &str = r#"format = 1
controller = "A house with one person for each role"
charter = { version = "1", text = "Look only for the reason that you state" }

[reasons]
incident = { text = "Theft, damage or assault" }
training = { text = "Training of the staff" }

[purposes]
security = { kinds = ["footage"], reasons = ["incident"] }
teaching = { kinds = ["call"], reasons = ["training"] }

[classes]
fortnight = { max = "P15D", from = "sealed" }

[sources]
entrance  = { kind = "footage", zone = "entrance", purposes = ["security"], class = "fortnight", writer = "backup" }
reception = { kind = "call", purposes = ["teaching"], class = "fortnight", writer = "backup" }

[roles]
viewer          = { verbs = ["search", "view"] }
trainer         = { verbs = ["search", "view"], second_person = true }
recorder        = { verbs = ["seal"] }
controller      = { verbs = ["search", "hold", "lift", "purge"] }
auditor         = { verbs = ["read-ledger"] }
technician      = { verbs = ["administer"] }
approver        = { verbs = ["search", "approve"] }
mandate-keeper  = { verbs = ["mandate"] }
register-keeper = { verbs = ["register"] }
reviewer        = { verbs = ["review"] }

[grants]
views     = { user = "games", role = "viewer", sources = ["entrance"] }
trains    = { user = "lp", role = "trainer", sources = ["reception"], reasons = ["training"] }
records   = { user = "backup", role = "recorder" }
controls  = { user = "sys", role = "controller" }
audits    = { user = "news", role = "auditor" }
technique = { user = "daemon", role = "technician" }
approves  = { user = "mail", role = "approver" }
mandates  = { user = "www-data", role = "mandate-keeper" }
registers = { user = "man", role = "register-keeper" }
reviews   = { user = "proxy", role = "reviewer" }
spare     = { user = "irc", role = "viewer", sources = ["entrance"] }
"#;

/// What a decision leads to: entries of their own, later, and no decision.
const CONSEQUENCES: [&str; 9] = [
    "access.closed",
    "access.emergency",
    "access.progress",
    "key.rotated",
    "ledger.heartbeat",
    "ledger.rekeyed",
    "policy.loaded",
    "review.raised",
    "store.scrubbed",
];

/// What `Registers` keeps, and what can be recorded there: one method, as many rows as acts.
const REGISTERS: [(&str, &[&str]); 4] = [
    ("grants", &["propose", "approve", "refuse", "end", "suspend", "review"]),
    ("mandates", &["give", "change", "withdraw", "done"]),
    ("approvals", &["ask", "accept", "refuse"]),
    ("charter", &["acknowledge"]),
];

/// The members of each interface of a kind, in the order of the file.
fn members(kind: &str) -> Vec<(String, String)> {
    let mut interface = String::new();
    let mut found = Vec::new();
    for line in INTERFACES.lines().map(str::trim) {
        let name = || line.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        if line.starts_with("<interface ") {
            interface = name();
        } else if line.starts_with(kind) {
            found.push((interface.clone(), name()));
        }
    }
    found
}

/// The methods of each interface; those of registers once for each register and act: `Record grants propose`.
fn methods() -> Vec<(String, String)> {
    let rows = |(interface, method): (String, String)| -> Vec<(String, String)> {
        let named = |what: String| (interface.clone(), format!("{method} {what}"));
        let acts = |(register, acts): (&'static str, &'static [&'static str])| {
            acts.iter().map(move |act| format!("{register} {act}"))
        };
        match method.as_str() {
            "List" => REGISTERS.iter().map(|(register, _)| named((*register).to_owned())).collect(),
            "Record" => REGISTERS.into_iter().flat_map(acts).map(named).collect(),
            _ => vec![(interface, method)],
        }
    };
    members("<method ").into_iter().flat_map(rows).collect()
}

/// What stands in the house when a call is made.
#[derive(Clone)]
struct Scene {
    footage: String,
    call: String,
    hold: String,
    session: String,
    approval: String,
}

/// What a mandate says.
const MANDATE: [(&str, &str); 7] = [
    ("user", "games"),
    ("client", "the practice next door"),
    ("from", "2026-01-01"),
    ("until", "2036-01-01"),
    ("necessity", "roles"),
    ("informed_on", "2026-01-01"),
    ("consent", "letter"),
];

fn mandate(id: &str) -> Keys {
    let mut request = keys(&MANDATE);
    request.insert("id".to_owned(), Variant::from(id.to_owned()));
    request.insert("tasks".to_owned(), Variant::from(vec!["incident"]));
    request
}

impl Scene {
    /// A new hold and a new session of the viewer, so that one call cannot spoil the next.
    fn set(house: &House, footage: &str, call: &str) -> (Self, support::user::Opened) {
        let hold =
            house.user("sys").hold(&[("recording", footage), ("kind", "incident"), ("ground", "scene")]);
        let opened = self::viewer(house).open(footage, &[("reason", "incident")]).unwrap();
        let scene = Self {
            footage: footage.into(),
            call: call.into(),
            hold: hold.unwrap(),
            session: opened.session.clone(),
            approval: String::new(),
        };
        (scene, opened)
    }

    /// What an act of a register is about.
    fn stage(&mut self, house: &House, method: &str) {
        match method {
            "Record approvals accept" | "Record approvals refuse" => {
                let request = [("recording", self.call.as_str()), ("reason", "training")];
                self.approval = house.user("lp").record("approvals", "ask", &request).unwrap();
            }
            "Record mandates done" => {
                house.user("www-data").record_with("mandates", "give", mandate("another")).unwrap();
            }
            _ => {}
        }
    }

    /// The recording that a role would ask for, and why.
    fn asked(&self, role: &str) -> (&str, &str) {
        if role == "trainer" { (&self.call, "training") } else { (&self.footage, "incident") }
    }
}

fn viewer(house: &House) -> &'static support::user::User {
    use std::sync::OnceLock;
    // The session of the scene lives as long as the name on the bus that opened it.
    static VIEWER: OnceLock<support::user::User> = OnceLock::new();
    VIEWER.get_or_init(|| house.user("games"))
}

/// Calls one method as it is meant; `None`: this test does not know it.
fn call(
    client: &Client,
    role: &str,
    scene: &Scene,
    interface: &str,
    method: &str,
) -> Option<Result<(), Refused>> {
    let ask = |path: &str, body: &dyn Body| body.ask(client, path, interface, method);
    let (recording, reason) = scene.asked(role);
    let none = Keys::new;
    let short = interface.strip_prefix("org.greffier.Archive1.").unwrap();
    Some(match (short, method) {
        ("Recordings", "Search") => ask(ROOT, &(keys(&[("reason", reason)]), 10_u32, "")),
        ("Recordings", "Describe") => ask(ROOT, &recording),
        ("Recordings", "Open") => ask(ROOT, &(recording, keys(&[("reason", reason)]))),
        ("Recordings", "Seal") => {
            // Each caller brings a file of his own, which nobody writes to any more.
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, role.as_bytes()).unwrap();
            let file = fs::File::open(file.into_temp_path()).unwrap();
            ask(ROOT, &(OwnedFd::from(std::os::fd::OwnedFd::from(file)), keys(&[("source", "entrance")])))
        }
        ("Session", "Info" | "Close") => ask(&scene.session, &()),
        ("Retention", "Plan" | "PlanDetails" | "Run" | "ConfirmClock") => ask(ROOT, &()),
        ("Retention", "Hold") => {
            ask(ROOT, &keys(&[("recording", recording), ("kind", "incident"), ("ground", "roles")]))
        }
        ("Hold", "Lift") => ask(&scene.hold, &keys(&[("ground", "roles")])),
        ("Ledger", "Head") => ask(ROOT, &()),
        ("Ledger", "Read") => ask(ROOT, &(0_u64, 1_u32, none())),
        ("Ledger", "Epochs") => ask(ROOT, &(0_u64, 1_u32)),
        ("Ledger", "Receipt") => ask(ROOT, &0_u64),
        ("Ledger", "Consistency") => ask(ROOT, &(1_u64, 2_u64)),
        ("Manager", "Status" | "Reload" | "RebuildIndex") => ask(ROOT, &()),
        ("Manager", "Scrub" | "RotateKeys") => ask(ROOT, &none()),
        ("Manager", "BackupKeys") => {
            let to = Variant::from(vec!["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]);
            ask(ROOT, &Keys::from([("to".to_owned(), to)]))
        }
        ("Manager", "CheckBackup") => {
            let generation = Variant::from(1_u64);
            let answer = Variant::from("not what the key answers");
            ask(ROOT, &Keys::from([("generation".to_owned(), generation), ("answer".to_owned(), answer)]))
        }
        ("Registers", row) => {
            let words: Vec<&str> = row.split(' ').collect();
            match words.as_slice() {
                ["List", register] => client.answer(ROOT, interface, "List", &(*register, none())),
                ["Record", register, act] => {
                    let request = act_of_a_register(register, act, scene)?;
                    client.answer(ROOT, interface, "Record", &(*register, *act, request))
                }
                _ => return None,
            }
        }
        ("Reviews", "Pending") => ask(ROOT, &()),
        ("Reviews", "Done") => ask(ROOT, &(0_u64, keys(&[("text", "roles")]))),
        ("Scrub", "Cancel" | "Findings") => ask(SCRUB, &()),
        _ => return None,
    })
}

/// The keys of an act, as it is meant.
fn act_of_a_register(register: &str, act: &str, scene: &Scene) -> Option<Keys> {
    Some(match (register, act) {
        ("grants", "propose") => keys(&[("grant", "user = \"irc\"\nrole = \"viewer\"\nuntil = 2027-01-01")]),
        ("grants", "suspend" | "review" | "end" | "approve" | "refuse") => keys(&[("id", "spare")]),
        ("mandates", "give" | "change") => mandate("one"),
        ("mandates", "withdraw") => keys(&[("id", "one")]),
        ("mandates", "done") => keys(&[("id", "another")]),
        ("approvals", "ask") => keys(&[("recording", &scene.call), ("reason", "training")]),
        ("approvals", "accept" | "refuse") => keys(&[("id", &scene.approval)]),
        ("charter", "acknowledge") => keys(&[("version", "1")]),
        _ => return None,
    })
}

/// Arguments of a call.
trait Body {
    fn ask(&self, client: &Client, path: &str, interface: &str, method: &str) -> Result<(), Refused>;
}
impl<T: serde::Serialize + zbus::wire::DynamicType> Body for T {
    fn ask(&self, client: &Client, path: &str, interface: &str, method: &str) -> Result<(), Refused> {
        client.answer(path, interface, method, self)
    }
}

/// How many decisions a call must leave in the ledger.
fn decisions(role: &str, interface: &str, method: &str) -> usize {
    match (interface.strip_prefix("org.greffier.Archive1.").unwrap(), method) {
        // Numbers, for everybody.
        ("Manager", "Status") => 0,
        // The owner asks about himself, and the end of his session is an entry of its own.
        ("Session", _) if role == "viewer" => 0,
        _ => 1,
    }
}

/// Whether an entry says what was decided about this call, and not what came of it or of another.
fn is_decision(entry: &Entry, interface: &str, method: &str) -> bool {
    match (interface.strip_prefix("org.greffier.Archive1.").unwrap(), method, entry.event()) {
        ("Session", "Close", "access.closed") => entry.get("outcome") == "denied",
        ("Manager", "Scrub", "store.scrubbed") => entry.data("why") == "ordered",
        ("Scrub", "Cancel", "store.scrubbed") => entry.line.contains("\"detail\""),
        (.., event) => !CONSEQUENCES.contains(&event),
    }
}

fn table(cells: &BTreeMap<(usize, usize), String>, methods: &[(String, String)]) -> String {
    let mut text = String::from(
        "# Who may do what\n\n\
         Written by `tests/bus_roles.rs`, which asks every method of every interface on a real bus, as one person for each role\n\
         (`GREFFIER_WRITE_ROLES=1 cargo test --test bus_roles` writes it). **yes**: done; else the error that comes back, without\n\
         `org.greffier.Archive1.Error.`. Each call but `Status`, and what the owner of a session asks about it, leaves exactly one\n\
         decision in the ledger. Properties are numbers and keys: everybody reads them, and no entry says so.\n\n\
         `NotFound` is what anybody gets who may not know of a recording, whether it exists or not. `CheckBackup` is asked with a\n\
         wrong answer, `Done` about a review that is not open, and `Cancel` while no scrub runs: whoever may gets `Conflict`.\n\
         The trainer\'s role needs a second person, so `Open` answers `ApprovalRequired`. Of registers there is a row for each register and act:\n\
         grants stand in the policy here, so whoever may propose, approve, refuse or end one gets `Conflict` too, as does who suspends what the technician has suspended; everybody lists what is about himself; and of an approval that is\n\
         answered already nobody learns more than that. The hold is on footage of the entrance, the session is the viewer's.\n\n",
    );
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let _infallible = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    line(&mut ["method"].into_iter().chain(ROLES.iter().map(|(role, _)| *role)));
    line(&mut std::iter::repeat_n("---", ROLES.len() + 1));
    for (row, (interface, method)) in methods.iter().enumerate() {
        let name = format!("`{}.{method}`", interface.strip_prefix("org.greffier.Archive1.").unwrap());
        let cells: Vec<&str> = (0..ROLES.len()).map(|column| cells[&(row, column)].as_str()).collect();
        line(&mut std::iter::once(name.as_str()).chain(cells));
    }
    text
}

#[test]
fn inv2_every_role_and_every_method_as_the_table_says_and_each_call_is_one_decision() {
    let house = {
        let mut house = House::closed(std::path::Path::new("state"));
        house.write_policy(POLICY);
        house.start();
        house
    };
    let footage = house.seal("entrance", "clip.mp4", &noise(1, 1000));
    let call_id = house.seal("reception", "call.wav", &noise(2, 1000));
    let methods = methods();
    assert!(methods.len() >= 25, "{methods:?}");
    let users: Vec<_> = ROLES.iter().map(|(_, account)| house.user(account)).collect();
    let (root, mut asked) = (house.user("root"), Vec::new());
    let entries = || usize::try_from(number(&root.status(), "entries")).unwrap();
    for account in ["games", "lp", "sys", "mail"] {
        house.user(account).record("charter", "acknowledge", &[("version", "1")]).unwrap();
    }
    let (mut scene, mut _opened) = Scene::set(&house, &footage, &call_id);
    for (row, (interface, method)) in methods.iter().enumerate() {
        scene.stage(&house, method);
        for (column, (role, _)) in ROLES.iter().enumerate() {
            if ["Hold", "Session"].iter().any(|used_up| interface.ends_with(used_up)) {
                (scene, _opened) = Scene::set(&house, &footage, &call_id);
            }
            let before = entries();
            let user = if *role == "viewer" { viewer(&house) } else { &users[column] };
            let (interface_of, method_of, scene) = (interface.clone(), method.clone(), scene.clone());
            let answer = user.run(move |client| call(client, role, &scene, &interface_of, &method_of));
            let answer = answer.unwrap_or_else(|| {
                panic!("{interface}.{method} has no row: say how it is called, and by whom")
            });
            asked.push((row, column, answer, before..entries()));
        }
    }
    // Counted on both sides: what was answered, and what the ledger says.
    let (durable, mut decided) = (house.durable(), 0);
    let mut cells = BTreeMap::new();
    for (row, column, answer, range) in asked {
        let ((interface, method), (role, _)) = (&methods[row], ROLES[column]);
        let new = durable[range].iter();
        let found: Vec<&Entry> = new.filter(|entry| is_decision(entry, interface, method)).collect();
        let said = format!("{role} asks {method}: {answer:?} {found:?}");
        assert_eq!(found.len(), decisions(role, interface, method), "{said}");
        if let (Err(refused), [entry]) = (&answer, found.as_slice()) {
            // Allowed, and then there was nothing to do: the entry says that it was allowed.
            let refused_by_rule = ["denied", "failed"].contains(&entry.get("outcome").as_str());
            assert!(refused.entry() == Some(entry.seq()) || !refused_by_rule, "{said}");
        }
        decided += found.len();
        cells.insert((row, column), answer.map_or_else(|refused| refused.name, |()| "yes".into()));
    }
    assert!(decided > methods.len() * (ROLES.len() - 2), "{decided}");
    let text = table(&cells, &methods);
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is an edge: whoever runs it says whether it writes"
    )]
    let write = std::env::var_os("GREFFIER_WRITE_ROLES").is_some();
    if write {
        fs::write(TABLE, &text).unwrap();
    }
    let written = fs::read_to_string(TABLE).unwrap_or_default();
    let differ: BTreeSet<&str> = text.lines().filter(|line| !written.lines().any(|it| it == *line)).collect();
    assert!(differ.is_empty() && written == text, "docs/roles.md says otherwise; now:\n{differ:#?}");
    house.finish();
}

#[test]
fn properties_are_for_everybody_and_no_entry() {
    let house = House::open();
    let before = house.durable().len();
    for (role, account) in ROLES {
        let user = house.user(account);
        for (interface, property) in members("<property ") {
            let path = if interface.ends_with(".Scrub") { SCRUB } else { ROOT };
            let body = (interface.clone(), property.clone());
            let answer =
                user.run(move |client| client.answer(path, "org.freedesktop.DBus.Properties", "Get", &body));
            assert_eq!(answer, Ok(()), "{role} reads {interface}.{property}");
        }
    }
    assert_eq!(house.durable().len(), before);
    house.finish();
}
