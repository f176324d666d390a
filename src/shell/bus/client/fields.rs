//! `a{sv}` replies as JSON.
//!
//! Owns the translation of bus values. Must never fail: a value of a type that is not expected is shown as text.

use serde_json::{Map, Value};
use zbus::wire::Variant;

use super::Fields;

/// All keys and values, sorted by key.
pub fn to_json(fields: &Fields) -> Map<String, Value> {
    fields.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()
}

fn value_of(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(n) => (*n).into(),
        Variant::Bool(b) => (*b).into(),
        Variant::I16(n) => (*n).into(),
        Variant::U16(n) => (*n).into(),
        Variant::I32(n) => (*n).into(),
        Variant::U32(n) => (*n).into(),
        Variant::I64(n) => (*n).into(),
        Variant::U64(n) => (*n).into(),
        Variant::F64(n) => (*n).into(),
        Variant::Str(s) => s.as_str().into(),
        Variant::ObjectPath(p) => p.as_str().into(),
        Variant::Variant(inner) => value_of(inner),
        Variant::Array(items) => items.iter().map(value_of).collect(),
        Variant::Structure(parts) => parts.fields().iter().map(value_of).collect(),
        Variant::Dict(pairs) => {
            let pair = |(key, value): (&Variant<'_>, &Variant<'_>)| match value_of(key) {
                Value::String(key) => (key, value_of(value)),
                key => (key.to_string(), value_of(value)),
            };
            Value::Object(pairs.iter().map(pair).collect())
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::wire::OwnedVariant;

    #[test]
    fn values_keep_their_type() {
        let mut fields = Fields::new();
        let ranges = vec![(0_u64, 65_536_u64)];
        for (key, value) in [
            ("bytes", Variant::from(7_u64)),
            ("held", Variant::from(true)),
            ("media", Variant::from("video/mp4")),
            ("ranges", Variant::from(ranges)),
        ] {
            fields.insert(key.to_owned(), OwnedVariant::try_from(value).unwrap());
        }
        let json = Value::Object(to_json(&fields)).to_string();
        assert_eq!(json, r#"{"bytes":7,"held":true,"media":"video/mp4","ranges":[[0,65536]]}"#);
    }
}
