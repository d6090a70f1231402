//! The one character that neither database keeps in its text.
//!
//! What is set aside must not be refused for a NUL that may be the very reason why; it becomes U+FFFD there.

use std::borrow::Cow;

use serde_json::Value;

/// The text without it.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The JSON value without it, in strings and in names; a backslash followed by `u0000` is not one and stays.
pub(crate) fn json_without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(text).into_owned()),
        Value::Array(values) => values.iter().map(json_without_nul).collect(),
        Value::Object(fields) => {
            let clean =
                |(name, value): (&String, &Value)| (without_nul(name).into_owned(), json_without_nul(value));
            fields.iter().map(clean).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_everywhere_and_what_only_spells_it_stays() {
        let value = json!({"a\0": ["\0", {"b": "x\0y"}, 1, null], "spelled": "\\u0000"});
        let clean = json!({"a\u{fffd}": ["\u{fffd}", {"b": "x\u{fffd}y"}, 1, null], "spelled": "\\u0000"});
        assert_eq!(json_without_nul(&value), clean);
    }
}
