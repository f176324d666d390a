//! Keys of witnesses and trust policies: one form of a key, any file is a policy or a mistake with its line, and a head that
//! nobody cosigned reaches no quorum but `none`.
#![no_main]

mod signed;

use std::sync::LazyLock;

use greffier::core::ledger::cosignature::CosignatureKey;
use greffier::core::ledger::note::SignedNote;
use greffier::core::ledger::trust::TrustPolicy;

static NOTE: LazyLock<SignedNote> =
    LazyLock::new(|| SignedNote::parse(&signed::ledger().head).expect("a signed note"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(key) = text.parse::<CosignatureKey>()
    {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(policy) = TrustPolicy::parse(bytes) {
        let verdict = policy.judge(&NOTE);
        assert_eq!(verdict.signed().count(), 0, "nobody cosigned it");
        assert_eq!(verdict.missing().count(), policy.witnesses().len());
        assert!(!verdict.quorum_reached() || bytes.windows(4).any(|word| word == b"none"));
    }
});
