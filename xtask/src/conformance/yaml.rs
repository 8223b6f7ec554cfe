//! YAML documents, read as kubectl reads them.

use serde_json::Value;

use crate::run::Error;

/// The documents of a YAML file; empty ones, which hold only comments, are left out.
pub fn documents(text: &str) -> Result<Vec<Value>, Error> {
    let text = quote_addresses(text);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| Error::new(format!("malformed YAML: {error}")))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Quotes IPv6 prefixes such as `2001:db8::` in flow lists: YAML 1.2 takes the last colon for
/// that of a mapping, kubectl for a part of the text.
fn quote_addresses(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(start) = rest.find(['[', ',']) {
            let (before, after) = rest.split_at(start + 1);
            quoted.push_str(before);
            let item = after.trim_start_matches(' ');
            quoted.push_str(&after[..after.len() - item.len()]);
            let end = item.find(|c: char| !c.is_ascii_hexdigit() && c != ':').unwrap_or(item.len());
            let (address, tail) = item.split_at(end);
            if address.ends_with("::") && tail.trim_start().starts_with([',', ']']) {
                quoted.push_str(&format!("\"{address}\""));
            } else {
                quoted.push_str(address);
            }
            rest = tail;
        }
        quoted.push_str(rest);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{documents, quote_addresses};

    #[test]
    fn documents_of_comments_are_left_out() {
        let found = documents("# one\n---\na: 1\n---\n# two\n---\nb: 2\n").unwrap();
        assert_eq!(found, [json!({"a": 1}), json!({"b": 2})]);
    }

    #[test]
    fn addresses_that_end_in_colons_are_texts() {
        let found = documents("a: [1.2.3.4, 001:db8::, fe80::]\nb: [::]\nc: [fe80::1]\n").unwrap();
        let expected =
            json!({"a": ["1.2.3.4", "001:db8::", "fe80::"], "b": ["::"], "c": ["fe80::1"]});
        assert_eq!(found, [expected]);
    }

    #[test]
    fn other_text_is_left_as_it_is() {
        for text in ["a: [b, c]\n", "a: \"x, b::\"\n", "a: [{b: c}, [d]]\n", "a: b::, c\n", ""] {
            assert_eq!(quote_addresses(text), text);
        }
    }
}
