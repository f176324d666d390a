//! The readers of policies, of a grant for the register, and of profiles: any text is one, or a list of mistakes with their lines.
//! Whatever is read can be linted, and does not differ from itself.
#![no_main]

use std::collections::BTreeSet;

use greffier::core::policy::{LintFacts, Policy, PolicyFile, Profile, diff, lint};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _profile = Profile::parse(text);
    let read = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text.into() }]);
    let Ok(policy) = read else {
        let id = "proposed".parse().expect("it is an id");
        let _grant = Policy::empty().read_grant(&id, text);
        return;
    };
    let today = "2026-10-01".parse().expect("it is a day");
    let facts = LintFacts { without_account: BTreeSet::new(), today, profiles: Vec::new() };
    assert!(lint(&policy, &facts).iter().all(|warning| warning.line > 0));
    assert!(diff(&policy, &policy).is_empty());
});
