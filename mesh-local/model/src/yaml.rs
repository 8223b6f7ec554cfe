//! YAML documents, read as kubectl reads them: YAML 1.1, where `0644` is octal, `on` is true and
//! `fe80::` in a list is a text.

use serde_json::Value;

/// A text that is no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed YAML: {0}")]
pub struct YamlError(String);

/// The documents of a YAML file; empty ones, which hold only comments, are left out.
///
/// # Errors
/// [`YamlError`] says where the first malformed document is.
///
/// ```
/// use local_model::yaml::documents;
/// use serde_json::json;
///
/// let found = documents("mode: 0644\n---\n# nothing\n---\non: [fe80::, yes]\n")?;
/// assert_eq!(found, [json!({"mode": 420}), json!({"on": ["fe80::", true]})]);
/// # Ok::<(), local_model::yaml::YamlError>(())
/// ```
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let text = quote_addresses(text);
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options())
        .map_err(|error| YamlError(error.to_string()))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// One document; null when it is empty.
///
/// # Errors
/// [`YamlError`], also when there is more than one document.
pub fn document(text: &str) -> Result<Value, YamlError> {
    let mut all = documents(text)?;
    match all.len() {
        0 => Ok(Value::Null),
        1 => Ok(all.remove(0)),
        count => Err(YamlError(format!("{count} documents instead of one"))),
    }
}

/// The texts of the documents of a file, without the lines between them, split as kubectl does.
///
/// ```
/// use local_model::yaml::split;
/// assert_eq!(split("---\na: 1\n--- # next\nb: 2\n").collect::<Vec<_>>(), ["", "a: 1\n", "b: 2\n"]);
/// ```
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let after = line.strip_prefix("---");
            if after
                .is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n']))
            {
                rest = Some(&text[at + line.len()..]);
                return Some(&text[..at]);
            }
            at += line.len();
        }
        Some(text)
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { legacy_octal_numbers: true }
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

    use super::{document, documents, quote_addresses, split};

    #[test]
    fn documents_of_comments_are_left_out() {
        let found = documents("# one\n---\na: 1\n---\n# two\n---\nb: 2\n").unwrap();
        assert_eq!(found, [json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(document("# nothing\n"), Ok(json!(null)));
        assert!(document("a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn scalars_are_read_as_kubectl_does() {
        let found = document("a: 0644\nb: n\nc: yes\nd: \"n\"\ne: 1e3\nf: 0x10\ng: ~\n").unwrap();
        assert_eq!(
            found,
            json!({"a": 420, "b": false, "c": true, "d": "n", "e": 1000.0, "f": 16, "g": null})
        );
    }

    proptest::proptest! {
        #[test]
        fn splitting_loses_only_separators(text in "(a: 1\n|---\n|--- x\n|----\n| ---\n|b){0,12}") {
            let parts: Vec<&str> = split(&text).collect();
            let kept: usize = parts.iter().map(|part| part.len()).sum();
            proptest::prop_assert!(kept <= text.len());
            for part in parts {
                proptest::prop_assert!(part.lines().all(|l| l != "---" && !l.starts_with("--- ")));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n]{0,60}") {
            drop(documents(&text));
        }
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
