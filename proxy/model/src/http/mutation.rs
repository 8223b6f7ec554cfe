//! Changes to headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access_log::LogContext;
use crate::access_log::format::Format;

/// Changes to the headers of a request or a response. Removals come first.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    /// Headers that are set or added.
    pub add: Vec<HeaderAdd>,
    /// Headers that go.
    pub remove: Vec<HeaderName>,
}

/// A header that is set or added.
#[derive(Clone, Debug)]
pub struct HeaderAdd {
    /// Its name.
    pub name: HeaderName,
    /// Its value, with Envoy's substitution operators.
    pub value: Format,
    /// What happens if it is there.
    pub action: AppendAction,
    /// Whether an empty value counts.
    pub keep_empty: bool,
}

/// What happens to a header that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    /// The new value is added to it.
    AppendOrAdd,
    /// Nothing.
    AddIfAbsent,
    /// It is replaced.
    OverwriteOrAdd,
    /// It is replaced; an absent one stays absent.
    OverwriteIfExists,
}

impl HeaderMutations {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Changes headers. Values that turn out not to be header values are left out.
    pub fn apply(&self, headers: &mut HeaderMap, context: &dyn LogContext) {
        for name in &self.remove {
            headers.remove(name);
        }
        let mut text = String::new();
        for add in &self.add {
            text.clear();
            add.value.render_value(context, &mut text);
            if text.is_empty() && !add.keep_empty {
                continue;
            }
            let Ok(value) = HeaderValue::from_str(&text) else { continue };
            match add.action {
                AppendAction::AppendOrAdd => {
                    headers.append(&add.name, value);
                }
                AppendAction::AddIfAbsent => {
                    headers.entry(&add.name).or_insert(value);
                }
                AppendAction::OverwriteOrAdd => {
                    headers.insert(&add.name, value);
                }
                AppendAction::OverwriteIfExists => {
                    if headers.contains_key(&add.name) {
                        headers.insert(&add.name, value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::NoContext;

    #[test]
    fn each_action_does_what_it_says() {
        let add = |name: &'static str, action| HeaderAdd {
            name: HeaderName::from_static(name),
            value: Format::parse("new").unwrap(),
            action,
            keep_empty: false,
        };
        let mutations = HeaderMutations {
            add: vec![
                add("x-append", AppendAction::AppendOrAdd),
                add("x-absent", AppendAction::AddIfAbsent),
                add("x-over", AppendAction::OverwriteOrAdd),
                add("x-none", AppendAction::OverwriteIfExists),
                add("x-gone", AppendAction::AddIfAbsent),
            ],
            remove: vec![HeaderName::from_static("x-gone")],
        };
        let mut headers = HeaderMap::new();
        for name in ["x-append", "x-absent", "x-over", "x-gone"] {
            headers.insert(name, HeaderValue::from_static("old"));
        }
        mutations.apply(&mut headers, &NoContext);
        let all = |name: &str| -> Vec<&str> {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
        };
        assert_eq!(all("x-append"), ["old", "new"]);
        assert_eq!(all("x-absent"), ["old"]);
        assert_eq!(all("x-over"), ["new"]);
        assert!(all("x-none").is_empty());
        assert_eq!(all("x-gone"), ["new"], "removed first");
    }
}
