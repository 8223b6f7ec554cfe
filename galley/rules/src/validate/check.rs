//! Where findings are gathered, each with the field it is about.

use std::fmt;

use crate::report::Code;

/// Findings beyond this many of one kind are dropped: an object of megabytes must not make a
/// reply of megabytes.
const MAX_FINDINGS: usize = 128;
/// Longer texts are cut: they quote what the object says, which may be anything.
const MAX_TEXT: usize = 1024;

/// Something that is wrong, or looks wrong, in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field, such as `spec.http[0].route`; empty for the object as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The analyzer's code, for the few findings that have one of their own.
    pub code: Option<Code>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// What validation of one object found. An object with errors must be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the object is refused.
    pub errors: Vec<Finding>,
    /// What its author should know.
    pub warnings: Vec<Finding>,
}

impl Verdict {
    /// Whether the object may be stored.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// A place in an object, and where findings about it go.
pub(super) struct At<'a> {
    verdict: &'a mut Verdict,
    path: String,
}

impl<'a> At<'a> {
    pub(super) fn new(verdict: &'a mut Verdict, path: &str) -> Self {
        Self { verdict, path: path.to_owned() }
    }

    /// The field of this name.
    pub(super) fn field(&mut self, name: &str) -> At<'_> {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        At { verdict: &mut *self.verdict, path }
    }

    /// The element at this place of a list.
    pub(super) fn index(&mut self, index: usize) -> At<'_> {
        At { path: format!("{}[{index}]", self.path), verdict: &mut *self.verdict }
    }

    /// The value under this key of a map.
    pub(super) fn key(&mut self, key: &str) -> At<'_> {
        At { path: format!("{}[{key:?}]", self.path), verdict: &mut *self.verdict }
    }

    pub(super) fn error(&mut self, message: impl Into<String>) {
        let finding = self.finding(message.into(), None);
        add(&mut self.verdict.errors, finding);
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        let finding = self.finding(message.into(), None);
        add(&mut self.verdict.warnings, finding);
    }

    /// A warning that has a code of its own.
    pub(super) fn coded(&mut self, code: Code, message: impl Into<String>) {
        let finding = self.finding(message.into(), Some(code));
        add(&mut self.verdict.warnings, finding);
    }

    pub(super) fn error_if(&mut self, wrong: bool, message: &str) {
        if wrong {
            self.error(message);
        }
    }

    pub(super) fn warn_if(&mut self, odd: bool, message: &str) {
        if odd {
            self.warn(message);
        }
    }

    /// Takes up the outcome of a check on a text.
    pub(super) fn require(&mut self, outcome: Result<(), String>) {
        if let Err(message) = outcome {
            self.error(message);
        }
    }

    /// Whether nothing has been refused so far.
    pub(super) fn is_valid(&self) -> bool {
        self.verdict.is_valid()
    }

    fn finding(&self, message: String, code: Option<Code>) -> Finding {
        Finding { path: cut(self.path.clone()), message: cut(message), code }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

fn add(findings: &mut Vec<Finding>, finding: Finding) {
    if findings.len() < MAX_FINDINGS && !findings.contains(&finding) {
        findings.push(finding);
    }
}
