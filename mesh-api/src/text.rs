//! The crate's string newtypes: one macro, so that every name parses, prints and serialises alike.

use std::fmt;

/// Text that is not the name it should be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{value}\" {reason}")]
pub struct NameError {
    what: &'static str,
    value: String,
    reason: &'static str,
}

/// Foreign text is quoted up to this many bytes, so that an error stays readable.
const QUOTED: usize = 96;

impl NameError {
    pub(crate) fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        let value = if value.len() > QUOTED {
            let end = (0..=QUOTED).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
            format!("{}…", &value[..end])
        } else {
            value.to_owned()
        };
        Self { what, value, reason }
    }

    /// The kind of name that was expected, as users call it: `hostname`, `cluster name`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The offending text, shortened when long.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is wrong with it, as the end of a sentence: `is longer than 255 characters`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Debug for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameError({self})")
    }
}

/// Serde, `FromStr` and conversions for a type that has `parse(&str) -> Result<Self, NameError>`
/// and `Display`.
macro_rules! text_serde {
    ($name:ty) => {
        impl std::str::FromStr for $name {
            type Err = $crate::text::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::text::NameError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A newtype over shared text. `$check` returns the canonical form, or what is wrong.
macro_rules! text_newtype {
    ($(#[$meta:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Parses and normalises.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, $crate::text::NameError> {
                let check: for<'a> fn(&'a str) -> Result<std::borrow::Cow<'a, str>, &'static str> =
                    $check;
                match check(text) {
                    Ok(canonical) => Ok(Self(std::sync::Arc::from(canonical.as_ref()))),
                    Err(reason) => Err($crate::text::NameError::new($what, text, reason)),
                }
            }

            /// The canonical text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        $crate::text::text_serde!($name);
    };
}

pub(crate) use {text_newtype, text_serde};

/// A DNS-1123 label in lower case: at most 63 of `a-z0-9-`, alphanumeric at both ends.
pub(crate) fn dns_label(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 63 {
        return Err("is longer than 63 characters");
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.bytes().all(inner) {
        return Err("may hold only lower-case letters, digits and '-'");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("must begin and end with a letter or digit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_foreign_value_is_quoted_short() {
        let error = NameError::new("hostname", &"é".repeat(500), "is longer than 255 characters");
        assert!(error.to_string().len() < 200, "{error}");
        assert!(error.to_string().ends_with("…\" is longer than 255 characters"));
    }
}
