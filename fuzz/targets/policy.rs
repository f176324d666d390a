//! The reader of policies: any text is a policy or a list of mistakes with their lines.
#![no_main]

use greffier::core::policy::{Policy, PolicyFile};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _policy = Policy::parse(&[PolicyFile { name: "policy.toml".into(), text: text.into() }]);
});
