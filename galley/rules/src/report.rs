//! What validation and analysis have to say, as `istioctl analyze` says it.

use std::fmt;

use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Cannot work.
    Error,
}

/// A message code such as `IST0101`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IST{:04}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The object a message is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One message.
///
/// ```
/// use galley_rules::report::{Code, Diagnostic, Level, Origin};
/// let origin = Origin { kind: "VirtualService".into(), namespace: "a".into(), name: "b".into() };
/// let message = Diagnostic::new(Level::Error, Code(101), origin, "host not found: \"c\"");
/// assert_eq!(
///     message.to_string(),
///     "Error [IST0101] (VirtualService a/b) host not found: \"c\""
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// Its code.
    pub code: Code,
    /// The object.
    pub origin: Origin,
    /// The field, such as `spec.http[0].route[0].destination.host`, where one is to blame.
    pub path: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Diagnostic {
    /// A message about a whole object.
    pub fn new(level: Level, code: Code, origin: Origin, message: impl Into<String>) -> Self {
        Self { level, code, origin, path: None, message: message.into() }
    }

    /// Names the field.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}] ({}) {}", self.level, self.code, self.origin, self.message)
    }
}

/// All messages, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    messages: Vec<Diagnostic>,
}

impl Report {
    /// Adds a message unless it is there already.
    pub fn add(&mut self, message: Diagnostic) {
        if !self.messages.contains(&message) {
            self.messages.push(message);
        }
    }

    /// The messages, the worst first, then by object.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.messages.sort_by(|a, b| {
            b.level.cmp(&a.level).then_with(|| (&a.origin, a.code).cmp(&(&b.origin, b.code)))
        });
        self.messages
    }

    /// The worst level, if there is a message.
    pub fn worst(&self) -> Option<Level> {
        self.messages.iter().map(|message| message.level).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: Level, name: &str) -> Diagnostic {
        let origin =
            Origin { kind: "Gateway".into(), namespace: "default".into(), name: name.into() };
        Diagnostic::new(level, Code(104), origin, "x")
    }

    #[test]
    fn the_worst_come_first_and_once() {
        let mut report = Report::default();
        for (level, name) in
            [(Level::Info, "a"), (Level::Error, "c"), (Level::Error, "b"), (Level::Error, "b")]
        {
            report.add(message(level, name));
        }
        assert_eq!(report.worst(), Some(Level::Error));
        let names: Vec<_> = report.into_sorted().into_iter().map(|m| m.origin.name).collect();
        assert_eq!(names, ["b", "c", "a"]);
    }
}
