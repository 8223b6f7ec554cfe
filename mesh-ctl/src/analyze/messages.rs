//! Messages of analysis as people and programs read them, and which of them are shown.

use galley_rules::report::{Diagnostic, Level};
use serde::Serialize;

const DOCS: &str = "https://istio.io/latest/docs/reference/config/analysis";

/// A message and the place of its object.
#[derive(Clone, Debug)]
pub struct Message {
    /// What is said.
    pub diagnostic: Diagnostic,
    /// `file:line` where the object came from a file.
    pub reference: Option<String>,
}

/// A message as a document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    code: String,
    documentation_url: String,
    level: Level,
    message: String,
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

impl Message {
    /// `Level [CODE] (Kind ns/name file:line) message`, coloured for terminals.
    pub fn line(&self, colour: bool) -> String {
        let Diagnostic { level, code, origin, message, .. } = &self.diagnostic;
        let place = self.reference.as_deref().map(|place| format!(" {place}")).unwrap_or_default();
        let (on, off) = match (colour, level) {
            (false, _) => ("", ""),
            (true, Level::Error) => ("\x1b[1;31m", "\x1b[0m"),
            (true, Level::Warning) => ("\x1b[33m", "\x1b[0m"),
            (true, Level::Info) => ("", ""),
        };
        format!("{on}{level:?}{off} [{code}] ({origin}{place}) {message}")
    }

    /// The message as a document.
    pub fn item(&self) -> Item {
        let code = self.diagnostic.code.to_string();
        Item {
            documentation_url: format!("{DOCS}/{}/", code.to_lowercase()),
            code,
            level: self.diagnostic.level,
            message: self.diagnostic.message.clone(),
            origin: self.diagnostic.origin.to_string(),
            reference: self.reference.clone(),
        }
    }
}

/// Messages that are not shown: `CODE=Kind name[.namespace]`, with `*` for any text.
#[derive(Clone, Debug)]
pub struct Suppression {
    code: String,
    resource: String,
}

impl std::str::FromStr for Suppression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (code, resource) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not of the form CODE=Kind name.namespace"))?;
        Ok(Self { code: code.to_owned(), resource: resource.to_owned() })
    }
}

impl Suppression {
    /// Whether the message is not shown.
    pub fn hides(&self, message: &Diagnostic) -> bool {
        let origin = &message.origin;
        let plain = format!("{} {}", origin.kind, origin.name);
        let full = format!("{plain}.{}", origin.namespace);
        glob(&self.code, &message.code.to_string())
            && (glob(&self.resource, &full)
                || (origin.namespace.is_empty() && glob(&self.resource, &plain)))
    }
}

/// Whether an annotation's list of codes names the code.
pub fn listed(annotation: &str, code: &str) -> bool {
    annotation.split(',').map(str::trim).any(|one| one == "*" || one == code)
}

/// Whether a text is as the pattern says, in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| glob(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use galley_rules::report::{Code, Origin};

    use super::*;

    fn message() -> Message {
        let origin = Origin { kind: "Pod".into(), namespace: "b".into(), name: "a".into() };
        let diagnostic = Diagnostic::new(Level::Warning, Code(103), origin, "no proxy");
        Message { diagnostic, reference: Some("a.yaml:3".to_owned()) }
    }

    #[test]
    fn lines_and_items_are_istioctls() {
        assert_eq!(message().line(false), "Warning [IST0103] (Pod b/a a.yaml:3) no proxy");
        assert!(message().line(true).starts_with("\x1b[33mWarning\x1b[0m"));
        let item = serde_json::to_value(message().item()).unwrap();
        assert_eq!(item["documentationUrl"], format!("{DOCS}/ist0103/"));
        assert_eq!(item["origin"], "Pod b/a");
        assert_eq!(item["level"], "Warning");
    }

    #[test]
    fn suppressions_have_wildcards() {
        for (text, hides) in [
            ("IST0103=Pod a.b", true),
            ("IST0103=Pod *", true),
            ("*=Pod a.*", true),
            ("IST0102=Pod a.b", false),
            ("IST0103=Pod a", false),
            ("IST0103=Service a.b", false),
        ] {
            let suppression: Suppression = text.parse().unwrap();
            assert_eq!(suppression.hides(&message().diagnostic), hides, "{text}");
        }
        assert!("IST0103".parse::<Suppression>().is_err());
        assert!(listed("IST0101, IST0103", "IST0103") && listed("*", "IST0103"));
        assert!(!listed("IST0101", "IST0103"));
    }
}
