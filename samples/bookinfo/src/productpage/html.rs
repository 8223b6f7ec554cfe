//! Text into HTML: escaping, and JSON values as text.

use std::fmt;

use serde_json::Value;

/// Prints a text so that it means nothing but itself in HTML, also inside quoted attributes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            let (special, after) = from.split_at(1);
            f.write_str(match special {
                "&" => "&amp;",
                "<" => "&lt;",
                ">" => "&gt;",
                "\"" => "&quot;",
                _ => "&#39;",
            })?;
            rest = after;
        }
        f.write_str(rest)
    }
}

/// A JSON value as a reader would write it: strings without quotes, null as nothing.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn special_characters_lose_their_meaning() {
        let evil = r#"<script a="b">'&amp;'"#;
        let safe = "&lt;script a=&quot;b&quot;&gt;&#39;&amp;amp;&#39;";
        assert_eq!(Text(evil).to_string(), safe);
    }

    proptest! {
        #[test]
        fn nothing_special_is_left_and_nothing_is_lost(text in ".*") {
            let safe = Text(&text).to_string();
            assert!(!safe.contains(['<', '>', '"', '\'']));
            let back = safe.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            assert_eq!(back, text);
        }
    }
}
