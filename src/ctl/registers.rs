//! `grant …`, `mandate …` and `approval …`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use zbus::Connection;
use zbus::wire::Variant;

use super::args::registers::{
    ApprovalCommand, AskArgs, GrantArgs, GrantCommand, ListArgs, MandateArgs, MandateCommand, ProposeArgs,
};
use super::print;
use crate::shell::bus::client::{Failure, RegistersProxy, Request, fields};
use crate::shell::terminal::{self, Form};

/// The longest file with the keys of a grant.
const GRANT_BYTES: u64 = 4096;

const GRANTS: [&str; 8] = ["id", "state", "user", "until", "rule", "proposer", "approver", "grant"];
const MANDATES: [&str; 8] = ["id", "state", "version", "user", "client", "tasks", "from", "until"];
const APPROVALS: [&str; 8] = ["id", "state", "user", "verb", "recording", "source", "reason", "expires"];

/// Runs a command of `grant`.
pub async fn grant(bus: &Connection, form: Form, command: GrantCommand) -> Result<u8, Failure> {
    match command {
        GrantCommand::List(args) => list(bus, form, "grants", &GRANTS, &args).await,
        GrantCommand::Propose(args) => {
            let text = grant_text(&args)?;
            let mut request = Request::from([("grant", Variant::from(text))]);
            add(&mut request, "ground", args.ground);
            let id = record(bus, form, "grants", "propose", request).await?;
            eprintln!("Proposed. Another person approves it with: greffierctl grant approve {id}");
            Ok(0)
        }
        GrantCommand::Approve(args) => about(bus, form, "approve", args, "The grant is in force.").await,
        GrantCommand::Refuse(args) => about(bus, form, "refuse", args, "The proposal is refused.").await,
        GrantCommand::End(args) => about(bus, form, "end", args, "It has ended.").await,
        GrantCommand::Suspend(args) => {
            about(bus, form, "suspend", args, "The grant allows nothing until it is reviewed.").await
        }
        GrantCommand::Review(args) => about(bus, form, "review", args, "The grant is confirmed.").await,
    }
}

/// Runs a command of `mandate`.
pub async fn mandate(bus: &Connection, form: Form, command: MandateCommand) -> Result<u8, Failure> {
    let (act, id, ground, words) = match command {
        MandateCommand::List(args) => return list(bus, form, "mandates", &MANDATES, &args).await,
        MandateCommand::Give(args) => {
            record(bus, form, "mandates", "give", mandate_request(args)).await?;
            eprintln!("The mandate is in force from its first day on.");
            return Ok(0);
        }
        MandateCommand::Change(args) => {
            record(bus, form, "mandates", "change", mandate_request(args)).await?;
            eprintln!("The new version is in force; sessions outside it have ended.");
            return Ok(0);
        }
        MandateCommand::Withdraw { id, ground } => {
            ("withdraw", id, ground, "The mandate is withdrawn; sessions under it have ended.")
        }
        MandateCommand::Done { id, ground } => ("done", id, ground, "The mandate is over."),
    };
    let mut request = Request::from([("id", Variant::from(id.to_string()))]);
    add(&mut request, "ground", ground);
    record(bus, form, "mandates", act, request).await?;
    eprintln!("{words}");
    Ok(0)
}

/// Runs a command of `approval`.
pub async fn approval(bus: &Connection, form: Form, command: ApprovalCommand) -> Result<u8, Failure> {
    let (act, args, words) = match command {
        ApprovalCommand::List(args) => return list(bus, form, "approvals", &APPROVALS, &args).await,
        ApprovalCommand::Ask(args) => {
            let id = record(bus, form, "approvals", "ask", ask_request(*args)).await?;
            eprintln!("Asked. Another person answers with: greffierctl approval accept {id}");
            return Ok(0);
        }
        ApprovalCommand::Accept(args) => ("accept", args, "Approved: it serves once, in its time."),
        ApprovalCommand::Refuse(args) => ("refuse", args, "Refused."),
    };
    let mut request = Request::from([("id", Variant::from(args.id.to_string()))]);
    add(&mut request, "ground", args.ground);
    record(bus, form, "approvals", act, request).await?;
    eprintln!("{words}");
    Ok(0)
}

async fn about(
    bus: &Connection,
    form: Form,
    act: &'static str,
    args: GrantArgs,
    words: &str,
) -> Result<u8, Failure> {
    let mut request = Request::from([("id", Variant::from(args.id))]);
    add(&mut request, "ground", args.ground);
    record(bus, form, "grants", act, request).await?;
    eprintln!("{words}");
    Ok(0)
}

/// Records an act and prints its id and entry; gives the id, clean for a terminal.
async fn record(
    bus: &Connection,
    form: Form,
    register: &str,
    act: &str,
    request: Request<'_>,
) -> Result<String, Failure> {
    let (id, entry) = RegistersProxy::new(bus).await?.record(register, act, request).await?;
    let id = terminal::clean(&id);
    let object = json!({ "id": id, "entry": entry });
    let object = object.as_object().cloned().unwrap_or_default();
    print(&match form {
        Form::Json => terminal::rows(form, &[], &[object]),
        Form::Lines | Form::Table => format!("{id}\n"),
    })?;
    Ok(id)
}

async fn list(
    bus: &Connection,
    form: Form,
    register: &str,
    columns: &[&str],
    args: &ListArgs,
) -> Result<u8, Failure> {
    let mut request = Request::new();
    add(&mut request, "user", args.user.as_ref().map(ToString::to_string));
    add(&mut request, "state", args.state.clone());
    let rows = RegistersProxy::new(bus).await?.list(register, request).await?;
    let rows: Vec<Map<String, Value>> = rows.iter().map(fields::to_json).collect();
    print(&terminal::rows(form, columns, &rows))?;
    if rows.is_empty() {
        eprintln!("The register holds nothing that you may see.");
    }
    Ok(0)
}

fn add(request: &mut Request<'_>, key: &'static str, text: Option<String>) {
    if let Some(text) = text {
        request.insert(key, Variant::from(text));
    }
}

/// The keys of a grant, as the policy writes them: from a file, or from the options.
fn grant_text(args: &ProposeArgs) -> Result<String, Failure> {
    if let Some(path) = &args.file {
        return read(path);
    }
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{key} = {value}");
    };
    // Every value is an id, a name or a day: none holds a quotation mark.
    let quoted = |value: &dyn std::fmt::Display| format!("\"{value}\"");
    if let Some(user) = &args.user {
        line("user", quoted(user));
    }
    if let Some(role) = &args.role {
        line("role", quoted(role));
    }
    if !args.source.is_empty() {
        line("sources", list_of(args.source.iter().map(|it| quoted(it))));
    }
    if !args.reason.is_empty() {
        line("reasons", list_of(args.reason.iter().map(|it| quoted(it))));
    }
    if let Some(from) = &args.from {
        line("from", from.clone());
    }
    if let Some(until) = &args.until {
        line("until", until.clone());
    }
    for set in &args.set {
        text.push_str(set);
        text.push('\n');
    }
    Ok(text)
}

fn list_of(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;

    let wrong = |what: &dyn std::fmt::Display| Failure::Usage(format!("{}: {what}.", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let read = file.take(GRANT_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if read as u64 > GRANT_BYTES {
        return Err(wrong(&format_args!("a grant has at most {GRANT_BYTES} bytes")));
    }
    Ok(text)
}

fn mandate_request(args: MandateArgs) -> Request<'static> {
    let tasks: Vec<String> = args.task.iter().map(ToString::to_string).collect();
    let mut request = Request::from([
        ("id", Variant::from(args.id.to_string())),
        ("user", Variant::from(args.user.to_string())),
        ("client", Variant::from(args.client)),
        ("tasks", Variant::from(tasks)),
        ("from", Variant::from(args.from)),
        ("until", Variant::from(args.until)),
        ("necessity", Variant::from(args.necessity)),
        ("informed_on", Variant::from(args.informed_on)),
        ("consent", Variant::from(args.consent)),
    ]);
    if !args.source.is_empty() {
        let sources: Vec<String> = args.source.iter().map(ToString::to_string).collect();
        request.insert("sources", Variant::from(sources));
    }
    request
}

fn ask_request(args: AskArgs) -> Request<'static> {
    let mut request = Request::from([("verb", Variant::from(args.verb.as_str()))]);
    add(&mut request, "recording", args.recording.map(|it| it.to_string()));
    add(&mut request, "source", args.source.map(|it| it.to_string()));
    add(&mut request, "from", args.from.map(|it| it.to_string()));
    add(&mut request, "to", args.to.map(|it| it.to_string()));
    add(&mut request, "reason", args.reason.map(|it| it.to_string()));
    add(&mut request, "purpose", args.purpose.map(|it| it.to_string()));
    add(&mut request, "case", args.case);
    add(&mut request, "mandate", args.mandate.map(|it| it.to_string()));
    add(&mut request, "duration", args.duration.map(|it| it.to_string()));
    add(&mut request, "expires", args.expires.map(|it| it.to_string()));
    add(&mut request, "text", args.text);
    request
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;

    fn parsed(line: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["greffierctl"], line].concat()).map(|cli| cli.command)
    }

    #[test]
    fn the_options_make_the_keys_of_a_grant() {
        let line = [
            "grant",
            "propose",
            "--user",
            "man",
            "--role",
            "viewer",
            "--source",
            "entrance",
            "--source",
            "doorbell",
            "--until",
            "2027-05-11",
            "--set",
            "second_person = true",
        ];
        let Ok(Command::Grant(GrantCommand::Propose(args))) = parsed(&line) else { panic!("not read") };
        assert_eq!(
            grant_text(&args).unwrap(),
            "user = \"man\"\nrole = \"viewer\"\nsources = [\"entrance\", \"doorbell\"]\nuntil = 2027-05-11\n\
             second_person = true\n"
        );
    }

    #[test]
    fn a_grant_needs_person_role_and_end_and_a_question_one_thing() {
        for bad in [
            &["grant", "propose", "--user", "man", "--role", "viewer"][..],
            &["grant", "propose", "--file", "x", "--user", "man"],
            &["grant", "propose", "--user", "1000", "--role", "viewer", "--until", "2027-05-11"],
            &["grant", "propose", "--user", "man", "--role", "viewer", "--until", "soon"],
            &["grant", "approve"],
            &["mandate", "give", "may", "--user", "man"],
            &["mandate", "withdraw", "Not An Id"],
            &["approval", "ask", "--source", "entrance"],
            &["approval", "ask", "--verb", "dance"],
            &["approval", "accept", "not-an-id"],
        ] {
            assert_eq!(parsed(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        assert!(parsed(&["approval", "ask", "--verb", "purge"]).is_ok());
    }
}
