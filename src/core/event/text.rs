//! How the `data` of an event is declared, and how dates and verbs are written in it: as the text that the policy has for them.

/// Declares `data`: an unknown key is an error.
macro_rules! data {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty),* }
    )*};
}

/// A day, `2026-05-12`.
pub(super) mod day {
    use jiff::civil::Date;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes it. Absent ones are left out before.
    pub(in super::super) fn serialize<S: Serializer>(day: &Option<Date>, s: S) -> Result<S::Ok, S::Error> {
        match day {
            Some(day) => s.collect_str(day),
            None => s.serialize_none(),
        }
    }

    /// Reads exactly what is written.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Date>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let day: Date = text.parse().map_err(|_| de::Error::custom("no day"))?;
        if day.to_string() == text { Ok(Some(day)) } else { Err(de::Error::custom("no day")) }
    }
}

/// A verb.
pub(super) mod word {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::core::policy::Verb;

    /// Writes it.
    pub(in super::super) fn serialize<S: Serializer>(verb: &Verb, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(verb.as_str())
    }

    /// Reads it.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Verb, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
