//! The manual pages say what the programs understand, and nothing else.
#![cfg(all(feature = "ctl", feature = "view", feature = "witness"))]

use std::collections::BTreeSet;

use clap::CommandFactory;

/// Every long option and every name of a command, with those of the commands below.
fn words(command: &clap::Command) -> (BTreeSet<String>, BTreeSet<String>) {
    let options = command.get_arguments().filter_map(|argument| argument.get_long());
    let mut options: BTreeSet<String> = options.map(|long| format!("--{long}")).collect();
    let mut names = BTreeSet::new();
    for below in command.get_subcommands() {
        names.insert(below.get_name().to_owned());
        let (more_options, more_names) = words(below);
        options.extend(more_options);
        names.extend(more_names);
    }
    (options, names)
}

/// The long options that a page names.
fn options_in(page: &str) -> BTreeSet<String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let after_dashes = page
        .split("--")
        .skip(1)
        .map(|rest| rest.split(|c| !letters(c)).next().unwrap_or_default().trim_end_matches('-').to_owned());
    after_dashes.filter(|name| !name.is_empty()).map(|name| format!("--{name}")).collect()
}

fn check(command: &clap::Command, page: &str) {
    let page = page.replace("\\-", "-");
    let (mut options, names) = words(command);
    for name in names {
        assert!(page.contains(&name), "the manual page of {} lacks the command {name}", command.get_name());
    }
    options.extend(["--help".to_owned(), "--version".to_owned()]);
    assert_eq!(options_in(&page), options, "options of the manual page (left) and of {}", command.get_name());
}

#[test]
fn the_manual_page_of_greffierctl_has_every_option_and_no_other() {
    check(&greffier::ctl::args::Cli::command(), include_str!("../man/greffierctl.1"));
}

#[test]
fn the_manual_page_of_greffier_view_has_every_option_and_no_other() {
    check(&greffier::view::args::Cli::command(), include_str!("../man/greffier-view.1"));
}
