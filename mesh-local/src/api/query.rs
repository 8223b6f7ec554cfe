//! Query parameters, read strictly: an option that is not understood is refused, not ignored.

use local_model::refusal::Refusal;
use percent_encoding::percent_decode_str;

/// The parameters of a request, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; `None` when absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect()
    }

    /// A boolean parameter; absent is false, present and empty is true.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        Ok(self.maybe_flag(key)?.unwrap_or(false))
    }

    /// A boolean parameter, or that it is absent.
    pub(crate) fn maybe_flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        let Some((_, value)) = self.0.iter().find(|(k, _)| k == key) else { return Ok(None) };
        match value.as_str() {
            "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(Some(false)),
            _ => Err(invalid(key, value, "a boolean")),
        }
    }

    /// The one object a field selector admits, by name. Roles with `resourceNames` allow such
    /// lists and watches, as Kubernetes does.
    pub(crate) fn only_name(&self) -> Option<&str> {
        // An escaped comma or sign could be taken for a separator here.
        let selector = self.get("fieldSelector").filter(|text| !text.contains('\\'))?;
        selector.split(',').find_map(|term| {
            let value = term.strip_prefix("metadata.name")?.strip_prefix('=')?;
            let value = value.strip_prefix('=').unwrap_or(value);
            (!value.is_empty() && !value.contains(['=', '!'])).then_some(value)
        })
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Refusal> {
        self.get(key)
            .map(|value| value.parse().map_err(|_| invalid(key, value, "a whole number")))
            .transpose()
    }
}

fn invalid(key: &str, value: &str, wanted: &str) -> Refusal {
    Refusal::bad_request(format!("the query parameter {key}={value} must be {wanted}"))
}

/// Options of list and watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) version_match: Option<String>,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the options and refuses combinations that Kubernetes refuses.
    pub(crate) fn from_query(query: &Query, watch: bool) -> Result<Self, Refusal> {
        let number = |key| {
            let value = query.number(key)?.unwrap_or(0);
            u64::try_from(value).map_err(|_| invalid(key, &value.to_string(), "0 or more"))
        };
        let text = |key| query.get(key).map(str::to_owned);
        let options = Self {
            label_selector: text("labelSelector").unwrap_or_default(),
            field_selector: text("fieldSelector").unwrap_or_default(),
            limit: usize::try_from(number("limit")?).unwrap_or(usize::MAX),
            continue_token: text("continue"),
            resource_version: text("resourceVersion"),
            version_match: text("resourceVersionMatch"),
            bookmarks: query.flag("allowWatchBookmarks")?,
            timeout_seconds: Some(number("timeoutSeconds")?).filter(|n| *n > 0),
            send_initial_events: query.maybe_flag("sendInitialEvents")?,
        };
        options.check(watch)?;
        Ok(options)
    }

    fn check(&self, watch: bool) -> Result<(), Refusal> {
        use local_model::field::{FieldError, FieldPath};
        use local_model::refusal::Subject;
        let refuse = |error: FieldError| {
            Err(Refusal::invalid(Subject::new("meta.k8s.io", "ListOptions", ""), vec![error]))
        };
        let version_match = FieldPath::new("resourceVersionMatch");
        let initial = FieldPath::new("sendInitialEvents");
        if let Some(wanted) = &self.version_match {
            if watch && self.send_initial_events.is_none() {
                return refuse(FieldError::forbidden(
                    &version_match,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if !watch && self.resource_version.is_none() {
                return refuse(FieldError::forbidden(
                    &version_match,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if self.continue_token.is_some() {
                return refuse(FieldError::forbidden(
                    &version_match,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !matches!(wanted.as_str(), "Exact" | "NotOlderThan") {
                let supported = ["Exact", "NotOlderThan"];
                return refuse(FieldError::not_supported(
                    &version_match,
                    wanted.as_str(),
                    &supported,
                ));
            }
            if wanted == "Exact" && self.resource_version.as_deref() == Some("0") {
                return refuse(FieldError::forbidden(
                    &version_match,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if self.send_initial_events.is_some() {
            if !watch {
                return refuse(FieldError::forbidden(
                    &initial,
                    "sendInitialEvents is forbidden for list",
                ));
            }
            if self.version_match.as_deref() != Some("NotOlderThan") {
                return refuse(FieldError::forbidden(
                    &version_match,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
        }
        Ok(())
    }
}

/// What strict decoding does with unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of create, update, patch and delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

impl WriteOptions {
    pub(crate) fn from_query(query: &Query) -> Result<Self, Refusal> {
        let dry_run = match query.all("dryRun").as_slice() {
            [] | [""] => false,
            all if all.iter().all(|v| *v == "All") => true,
            other => return Err(invalid("dryRun", &other.join(","), "\"All\"")),
        };
        let field_validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(invalid("fieldValidation", other, "one of Ignore, Warn, Strict"));
            }
        };
        Ok(Self { dry_run, field_validation })
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldValidation, ListOptions, Query, WriteOptions};

    #[test]
    fn reads_pairs() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28x%29&watch=1&limit=500&dryRun=All");
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (x)"));
        assert!(query.flag("watch").unwrap());
        assert!(!query.flag("other").unwrap());
        assert_eq!(ListOptions::from_query(&query, false).unwrap().limit, 500);
        let write = WriteOptions::from_query(&query).unwrap();
        assert!(write.dry_run && write.field_validation == FieldValidation::Warn);
    }

    #[test]
    fn a_selector_may_admit_one_name_only() {
        for (text, wanted) in [
            ("fieldSelector=metadata.name%3Da", Some("a")),
            ("fieldSelector=status.phase!%3DFailed,metadata.name%3D%3Da", Some("a")),
            ("fieldSelector=metadata.name!%3Da", None),
            ("fieldSelector=metadata.namespace%3Da", None),
            ("fieldSelector=metadata.name%3D", None),
            ("fieldSelector=metadata.name%3Da%5C,b", None),
            ("labelSelector=metadata.name%3Da", None),
        ] {
            assert_eq!(Query::parse(text).only_name(), wanted, "{text}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (text, watch) in [
            ("limit=x", false),
            ("limit=-1", false),
            ("allowWatchBookmarks=maybe", true),
            ("resourceVersionMatch=Exact", false),
            ("resourceVersionMatch=Sometimes&resourceVersion=1", false),
            ("sendInitialEvents=true", true),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", false),
        ] {
            assert!(ListOptions::from_query(&Query::parse(text), watch).is_err(), "{text}");
        }
        for text in ["dryRun=Some", "fieldValidation=Loose"] {
            assert!(WriteOptions::from_query(&Query::parse(text)).is_err(), "{text}");
        }
        let streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert!(ListOptions::from_query(&Query::parse(streaming), true).is_ok());
    }
}
