//! `greffierctl` and `greffier-view` against the service's own interfaces on a private bus.
#![cfg(all(feature = "ctl", feature = "view", feature = "daemon"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

#[path = "cli_bus/service.rs"]
mod service;

use std::path::Path;
use std::process::Output;

use greffier::core::ledger::receipt::Receipt;
use greffier::core::ledger::tile;
use service::{HOLD, ORIGIN, RECORDING, Service, refusal};

const CTL: &str = env!("CARGO_BIN_EXE_greffierctl");
const VIEW: &str = env!("CARGO_BIN_EXE_greffier-view");

fn run(service: &Service, program: &str, arguments: &[&str]) -> Output {
    service.command(program, arguments).output().unwrap()
}

fn done(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_search_goes_through_the_pages_and_stops_at_the_limit() {
    let service = Service::start(b"", 1);
    let all = done(run(&service, CTL, &["search", "--reason", "incident", "--limit", "5000"]));
    assert_eq!(all.lines().count(), 1500);
    assert!(all.lines().next().unwrap().ends_with("\tentrance\tfootage\t2026-05-12T10:00:00.000000Z\t2026-05-12T10:05:00.000000Z\t2026-05-27T10:06:00.000000Z\tyes"));
    assert_eq!(
        service.asked(),
        ["search incident [] held None limit 1000", "search incident [] held None limit 1000",]
    );

    let list = ["--json", "list", "--reason", "incident", "--source", "entrance", "--held", "--limit", "2"];
    let two = run(&service, VIEW, &list);
    assert!(String::from_utf8_lossy(&two.stderr).contains("More recordings match"));
    let two = done(two);
    assert_eq!(two.lines().count(), 2);
    let first: serde_json::Value = serde_json::from_str(two.lines().next().unwrap()).unwrap();
    assert_eq!((first["bytes"].as_u64(), first["held"].as_bool()), (Some(7), Some(true)));
    assert_eq!(service.asked(), ["search incident [\"entrance\"] held Some(true) limit 2"]);
}

#[test]
fn a_rebuild_of_the_catalogue_says_how_many_recordings_it_has_and_shows_no_bar_to_a_pipe() {
    let service = Service::start(b"", 1);
    let output = run(&service, CTL, &["index", "rebuild", "--json"]);
    let words = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.starts_with("The catalogue is rebuilt from the ledger: "), "{words}");
    let object: serde_json::Value = serde_json::from_str(done(output).trim_end()).unwrap();
    assert_eq!(object.as_object().unwrap().len(), 1);
    assert!(object["recordings"].as_u64().is_some_and(|count| words.contains(&count.to_string())), "{words}");
}

#[test]
fn a_refusal_is_printed_as_it_came_and_exits_1() {
    let service = Service::start(b"", 1);
    let output = run(&service, VIEW, &["cat", &RECORDING.to_string(), "--reason", "caller-dispute"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), refusal().sentence);
    let unknown = run(&service, CTL, &["show", "aaaaaaaaaaaaaaaaaaaaaaaaaa"]);
    assert_eq!(unknown.status.code(), Some(1));
    let reload = run(&service, CTL, &["reload"]);
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    assert!(String::from_utf8_lossy(&reload.stderr).starts_with("policy.toml:3: "));
}

#[test]
fn a_service_that_is_not_there_exits_3() {
    let service = Service::start(b"", 1);
    service.leave();
    let output = run(&service, CTL, &["show", &RECORDING.to_string()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("systemctl start greffierd"));
}

#[test]
fn status_says_why_and_exits_1_when_closed() {
    let service = Service::start(b"", 1);
    let output = run(&service, CTL, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("state\tclosed\nwhy\tThe disk is full.\n"));
}

#[test]
fn seal_passes_the_file_and_its_name_and_no_link() {
    let service = Service::start(b"", 1);
    let file = service.dir.path().join("door.mp4");
    std::fs::write(&file, "bytes").unwrap();
    let link = service.dir.path().join("link.mp4");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (file, link) = (file.to_str().unwrap(), link.to_str().unwrap());

    let output = run(&service, CTL, &["seal", link, file, "--source", "entrance"]);
    assert_eq!(output.status.code(), Some(2), "the link is refused: {output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{RECORDING}\t7\t{file}\n"));
    assert_eq!(service.asked(), ["seal \"bytes\" entrance Some(\"door.mp4\") None"]);

    let sealed =
        done(run(&service, CTL, &["--json", "seal", file, "--source", "entrance", "--start", "2026-05-12"]));
    assert_eq!(sealed, format!("{{\"entry\":7,\"file\":\"{file}\",\"id\":\"{RECORDING}\"}}\n"));
    assert_eq!(
        service.asked(),
        ["seal \"bytes\" entrance Some(\"door.mp4\") Some(2026-05-12T00:00:00.000000Z)"]
    );
}

#[test]
fn a_hold_is_lifted_by_what_placing_it_printed() {
    let service = Service::start(b"", 1);
    let id = RECORDING.to_string();
    let place =
        ["hold", "place", &id, "--kind", "judicial", "--ground", "requisition", "--review", "2027-01-31"];
    let hold = done(run(&service, CTL, &place));
    assert_eq!(hold, format!("{HOLD}\n"));
    done(run(&service, CTL, &["hold", "lift", hold.trim_end(), "--ground", "closed"]));
    assert_eq!(
        service.asked(),
        [
            format!("hold {id} requisition Some(2027-01-31T00:00:00.000000Z)"),
            format!("lift {HOLD} Some(\"closed\")"),
        ]
    );
}

#[test]
fn retention_prints_the_plan_and_exits_1_when_a_purge_failed() {
    let service = Service::start(b"", 1);
    let plan = done(run(&service, CTL, &["retention", "plan"]));
    assert_eq!(plan, format!("{RECORDING}\tpurge\t2026-05-27T10:06:00.000000Z\tolder than 15 days\n"));
    let output = run(&service, CTL, &["retention", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "purged\t2\nheld\t1\nfailed\t1\n");
}

#[test]
fn retention_plan_details_prints_ranges_and_names_nobody() {
    let service = Service::start(b"", 1);
    let plan = done(run(&service, CTL, &["retention", "plan", "--details"]));
    let rows: Vec<&str> = plan.lines().collect();
    assert_eq!(rows[0], "0\t256\t3\tdestroy\t2026-05-27T10:06:00.000000Z\tthe period has ended");
    assert_eq!(rows[1], "0\t9\t3\tkeep\t\tthe hold stands");
    assert_eq!(rows.len(), 2);
}

#[test]
fn play_hands_the_recording_to_the_player_and_ends_with_its_exit_code() {
    let service = Service::start(b"the recording", 1);
    let id = RECORDING.to_string();
    let play = |script: &str| {
        run(
            &service,
            VIEW,
            &["play", &id, "--reason", "incident", "--case", "26/1", "--", "sh", "-c", script, "sh", "{}"],
        )
    };
    // It is seekable, and the only descriptor that the player has and a program started here has not.
    let count = "ls /proc/self/fd | wc -l";
    let here =
        std::process::Command::new("sh").args(["-c", count]).stdin(std::process::Stdio::null()).output();
    let here: u32 = String::from_utf8(here.unwrap().stdout).unwrap().trim().parse().unwrap();
    let output = play(&format!("tail -c 9 \"$1\"; {count}; exit 7"));
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("recording{}\n", here + 1));
    assert_eq!(service.asked(), [format!("open {id} incident Some(\"26/1\") stream false"), "close".into()]);
    assert_eq!(play("kill -9 $$").status.code(), Some(137));
}

#[test]
fn ctrl_c_ends_player_and_session() {
    let service = Service::start(b"x", 1);
    let id = RECORDING.to_string();
    let started = service.dir.path().join("started");
    let script = format!("trap '' INT TERM; : > {}; while :; do sleep 1; done", started.display());
    let mut view = service
        .command(VIEW, &["play", &id, "--reason", "incident", "--", "sh", "-c", &script])
        .spawn()
        .unwrap();
    wait_for(&started);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(view.id().try_into().unwrap()),
        nix::sys::signal::SIGINT,
    )
    .unwrap();
    // The player ignores the signal, so it is killed after the grace.
    assert_eq!(view.wait().unwrap().code(), Some(137));
    assert_eq!(service.asked().last().unwrap(), "close");
}

/// At most ten seconds.
fn wait_for(file: &Path) {
    let (_sender, pause) = std::sync::mpsc::channel::<()>();
    for _ in 0..200 {
        if file.exists() {
            return;
        }
        let _ = pause.recv_timeout(std::time::Duration::from_millis(50));
    }
    panic!("the player did not start");
}

#[test]
fn cat_copies_every_byte() {
    let media: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let service = Service::start(&media, 1);
    let output = run(&service, VIEW, &["cat", &RECORDING.to_string(), "--reason", "incident"]);
    assert_eq!(output.status.code(), Some(0), "{:?}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == media);
    assert_eq!(service.asked(), [format!("open {RECORDING} incident None stream true"), "close".into()]);
}

#[test]
fn the_log_shows_the_last_entries_or_those_from_a_number() {
    let service = Service::start(b"", 600);
    let last = done(run(&service, CTL, &["ledger", "log", "--count", "2"]));
    assert!(last.starts_with("598\t") && last.lines().count() == 2, "{last}");
    let many = done(run(&service, CTL, &["--json", "ledger", "log", "--from", "10", "--count", "300"]));
    let expected: String =
        service.archive.ledger[10..310].iter().map(|(line, _)| format!("{line}\n")).collect();
    assert!(many == expected, "JSON is the entries as they were written");
    let one = done(run(&service, CTL, &["ledger", "read", "3", "--details"]));
    let (entry, detail) = &service.archive.ledger[3];
    assert_eq!(one, format!("{entry}\n{}\n", detail.as_ref().unwrap()));
    assert_eq!(run(&service, CTL, &["ledger", "log", "--from", "600"]).status.code(), Some(2));
}

/// Exit code and standard error of what must fail without a word on standard output.
fn failed(output: Output) -> (Option<i32>, String) {
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_receipt_goes_to_standard_output_or_to_a_new_file() {
    let service = Service::start(b"", 600);
    let (line, detail) = &service.archive.ledger[300];
    let text = done(run(&service, CTL, &["ledger", "receipt", "300"]));
    let receipt: Receipt = text.parse().unwrap();
    assert_eq!((receipt.entry(), receipt.detail()), (line.as_bytes(), None));
    receipt.verify_inclusion().unwrap();

    let file = service.dir.path().join("300.tlog-proof");
    let out = file.to_str().unwrap();
    let opened = ["ledger", "receipt", "300", "--with-detail", "--output", out];
    assert_eq!(done(run(&service, CTL, &opened)), "");
    let receipt: Receipt = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(receipt.detail(), detail.as_ref().map(String::as_bytes));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    service.asked();
    let (code, said) = failed(run(&service, CTL, &opened));
    assert!(code == Some(2) && said.contains("name a new file"), "{said}");
    assert_eq!(service.asked(), [""; 0], "nothing is asked when the answer has no place");

    let json = done(run(&service, CTL, &["--json", "ledger", "receipt", "7"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["entry"], &json["size"], &json["detail"]), (&7.into(), &600.into(), &false.into()));
    assert_eq!(json["receipt"].as_str().unwrap().parse::<Receipt>().unwrap().index(), 7);
}

#[test]
fn a_receipt_that_cannot_be_had_leaves_no_file() {
    let service = Service::start(b"", 10);
    let file = service.dir.path().join("none");
    let out = file.to_str().unwrap();
    let (code, said) = failed(run(&service, CTL, &["ledger", "receipt", "10", "--output", out]));
    assert!(code == Some(1) && said.contains("no such entry"), "{said}");
    // Every third entry has a detail.
    let (code, said) =
        failed(run(&service, CTL, &["ledger", "receipt", "4", "--with-detail", "--output", out]));
    assert!(code == Some(1) && said.contains("no personal part"), "{said}");
    assert!(!file.exists());
}

#[test]
fn a_consistency_proof_is_checked_against_the_two_checkpoints() {
    let service = Service::start(b"", 600);
    let lines = done(run(&service, CTL, &["ledger", "consistency", "51", "600"]));
    assert!(lines.lines().count() > 5);
    let file = |name: &str, text: &str| {
        let path = service.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (old, new) = (file("old", &service.archive.epochs[0]), file("new", &service.archive.head));
    let with = |sizes: [&str; 2], files: &[&str]| {
        let mut arguments = vec!["--json", "ledger", "consistency", sizes[0], sizes[1]];
        arguments.extend(files.iter().flat_map(|file| ["--checkpoint", *file]));
        run(&service, CTL, &arguments)
    };
    let json: serde_json::Value = serde_json::from_str(&done(with(["51", "600"], &[&new, &old]))).unwrap();
    assert_eq!((&json["checked"], &json["new"]), (&true.into(), &600.into()));
    assert_eq!(json["proof"].as_array().unwrap().len(), lines.lines().count());

    // Entries without a signer of ours, and an old head of another history.
    let other = Service::start(b"", 52);
    let origin = file("other", &other.archive.epochs[0]);
    let root = |text: &str| text.lines().nth(2).unwrap().to_owned();
    let forged = service.archive.epochs[0]
        .replace(&root(&service.archive.epochs[0]), &root(&service.archive.epochs[1]));
    let forged = file("forged", &forged);
    let (code, said) = failed(with(["51", "600"], &[&forged, &new]));
    assert!(code == Some(1) && said.contains("does not join"), "{said}");
    // The same entries give the same root, whoever signs.
    done(with(["51", "600"], &[&origin, &new]));

    service.asked();
    for (sizes, files) in [
        (["51", "600"], vec![old.as_str()]),
        (["52", "600"], vec![&old, &new]),
        (["51", "600"], vec![&old, &new, &new]),
        (["51", "600"], vec![&old, CTL]),
        (["51", "600"], vec![&old, "/dev/zero"]),
    ] {
        let (code, said) = failed(with(sizes, &files));
        assert!(code == Some(2) && !said.is_empty(), "{files:?}: {said}");
    }
    assert_eq!(service.asked(), [""; 0]);
    let (code, said) = failed(with(["9", "7"], &[]));
    assert!(code == Some(2) && said.contains("9 is more than 7"), "{said}");
}

#[test]
fn an_export_is_the_ledger_with_its_checkpoints() {
    let service = Service::start(b"", 600);
    let dir = service.dir.path().join("out");
    let out = dir.to_str().unwrap();
    let printed = done(run(&service, CTL, &["--json", "ledger", "export", out, "--with-details"]));
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["entries"].as_u64(), Some(600));

    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let fake = &service.archive;
    assert_eq!(read("checkpoint"), fake.head);
    assert_eq!(read("origin"), format!("{ORIGIN}\n"));
    assert!(read("vkey").starts_with(ORIGIN));
    assert_eq!(fake.epochs.len(), 6);
    for (i, text) in fake.epochs.iter().enumerate() {
        assert_eq!(&read(&format!("checkpoints/{}", i * 100 + 51)), text);
    }
    let details: Vec<&str> = fake.ledger.iter().filter_map(|(_, detail)| detail.as_deref()).collect();
    assert_eq!(read("details.jsonl").lines().collect::<Vec<_>>(), details);
    let bundle = std::fs::read(dir.join(tile::entries_path(2, Some(88)))).unwrap();
    assert_eq!(tile::parse_bundle(&bundle).unwrap()[87], fake.ledger[599].0.as_bytes());

    let again = run(&service, CTL, &["ledger", "export", out]);
    assert_eq!(again.status.code(), Some(2), "an export never goes into a folder that holds something");
    let without = service.dir.path().join("without");
    done(run(&service, CTL, &["ledger", "export", without.to_str().unwrap()]));
    assert!(!without.join("details.jsonl").exists());
}

#[test]
fn a_scrub_is_followed_to_its_end_and_its_findings_exit_1() {
    let service = Service::start(b"", 1);
    let output = run(&service, CTL, &["--json", "store", "scrub", "--rate", "5"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        service.asked(),
        ["scrub ScrubRequest { rate_mib_s: Some(5), recording: None, restart: false }"]
    );
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found = lines.iter().find(|line| line["what"] == "object-damaged").unwrap();
    assert_eq!(
        (found["recording"].as_str(), found["offset"].as_u64()),
        (Some(&*RECORDING.to_string()), Some(64))
    );
    let last = lines.last().unwrap();
    assert_eq!((last["damaged"].as_u64(), last["running"].as_bool()), (Some(2), Some(false)));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains('\r') && said.contains("2 damaged"), "no bar where nobody looks: {said}");

    let output = run(&service, CTL, &["store", "scrub", "--cancel"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(service.asked(), ["cancel scrub"]);
}

#[test]
fn a_backup_in_shares_is_written_tried_and_opened_by_no_wrong_share() {
    use std::os::unix::fs::PermissionsExt;
    let service = Service::start(b"", 1);
    let file = |name: &str| service.dir.path().join(name).to_str().unwrap().to_owned();
    let backup = file("keys.age");
    let written = done(run(&service, CTL, &["keys", "backup", "--shares", "2/3", "--output", &backup]));
    let share = |n: u8| format!("{backup}.share-{n}");
    assert_eq!(written, format!("{backup}\n{}\n{}\n{}\n", share(1), share(2), share(3)));
    for path in written.lines() {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }
    let again = run(&service, CTL, &["keys", "backup", "--shares", "2/3", "--output", &backup]);
    assert_eq!(again.status.code(), Some(1), "never over a file");
    assert_eq!(service.asked(), ["backup keys"], "once");

    let drill = |shares: &[String]| {
        let mut arguments = vec!["--json", "keys", "restore", &backup, "--check"];
        arguments.extend(shares.iter().flat_map(|path| ["--share", path]));
        run(&service, CTL, &arguments)
    };
    let opened = done(drill(&[share(3), share(1)]));
    assert_eq!(opened, "{\"entry\":13,\"generation\":4,\"origin\":\"test.example/greffier\"}\n");
    let said = |output: Output| {
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(drill(&[share(2)])).contains("1 more of number 1, 3 is missing"));
    assert!(said(drill(&[share(2), share(2)])).contains("the same share, number 2"));
    let text = std::fs::read_to_string(share(1)).unwrap();
    std::fs::write(share(1), text.replace("share 1 of 3, any 2", "share 1 of 3, any 3")).unwrap();
    assert!(said(drill(&[share(1), share(2)])).contains("keys.age.share-1 is not a share, or was changed"));

    let rotated = run(&service, CTL, &["keys", "rotate", "--ground", "a clerk left"]);
    assert!(String::from_utf8_lossy(&rotated.stderr).contains("Make a new backup"), "{rotated:?}");
    assert_eq!(rotated.status.code(), Some(0));
    assert_eq!(run(&service, CTL, &["keys", "rotate"]).status.code(), Some(1), "under way already");
    assert_eq!(
        run(&service, CTL, &["keys", "backup", "--output", &file("b")]).status.code(),
        Some(2),
        "for nobody"
    );
}

#[test]
fn a_share_that_cannot_be_written_leaves_no_other_and_no_backup_is_asked_for() {
    let service = Service::start(b"", 1);
    let folder = service.dir.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    // The names of shares 1 to 9 have the 255 bytes that a name may have, that of share 10 one more.
    let backup = folder.join("k".repeat(247));
    let output =
        run(&service, CTL, &["keys", "backup", "--shares", "2/10", "--output", backup.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("share-10") && said.contains("are removed again"), "{said}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(service.asked(), [""; 0]);
}

#[test]
fn a_backup_to_recipients_is_opened_by_age_itself() {
    let service = Service::start(b"", 1);
    let file = |name: &str| service.dir.path().join(name).to_str().unwrap().to_owned();
    let (identity, backup) = (file("identity"), file("keys.age"));
    let made = std::process::Command::new("age-keygen").args(["-o", &identity]).output();
    let made = made.expect("age must be installed");
    let recipient = String::from_utf8(made.stderr).unwrap();
    let recipient = recipient.trim().rsplit(' ').next().unwrap().to_owned();
    done(run(&service, CTL, &["keys", "backup", "--to", &recipient, "--output", &backup]));
    let opened = std::process::Command::new("age").args(["-d", "-i", &identity, &backup]).output().unwrap();
    let opened = String::from_utf8(opened.stdout).unwrap();
    assert!(
        opened.starts_with("greffier key backup 1\norigin test.example/greffier\ngeneration 4\nkey CQkJ"),
        "{opened}"
    );
    done(run(&service, CTL, &["keys", "restore", &backup, "--identity", &identity, "--check"]));
}
