//! Where a walker is: a path that costs nothing until an error needs it as text.

use std::fmt::Write as _;

use crate::field::FieldPath;

/// One step from a value to a value inside it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Property(&'a str),
    Index(usize),
    Key(&'a str),
}

/// A path, linked towards the root.
#[derive(Clone, Copy)]
pub(crate) struct Trail<'a> {
    last: Option<(&'a Trail<'a>, Step<'a>)>,
}

impl<'a> Trail<'a> {
    pub(crate) fn root() -> Self {
        Self { last: None }
    }

    pub(crate) fn property(&'a self, name: &'a str) -> Self {
        Self { last: Some((self, Step::Property(name))) }
    }

    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self { last: Some((self, Step::Index(index))) }
    }

    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self { last: Some((self, Step::Key(key))) }
    }

    /// As schema validation and strict decoding write it: map keys after a dot.
    pub(crate) fn dotted(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, false);
        text
    }

    /// As field errors write it: map keys in brackets.
    pub(crate) fn field(&self) -> FieldPath {
        let mut text = String::new();
        self.write(&mut text, true);
        FieldPath::new(&text)
    }

    /// [`Self::dotted`] as a field path.
    pub(crate) fn dotted_field(&self) -> FieldPath {
        FieldPath::new(&self.dotted())
    }

    fn write(&self, text: &mut String, bracket_keys: bool) {
        let Some((parent, step)) = self.last else { return };
        parent.write(text, bracket_keys);
        match step {
            Step::Key(key) if bracket_keys => {
                text.push('[');
                text.push_str(key);
                text.push(']');
            }
            Step::Property(name) | Step::Key(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "[{index}]");
            }
        }
    }
}
