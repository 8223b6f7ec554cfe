//! Typed settings from the environment: every bad value is collected and reported at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use duration::{BadDuration, parse_duration};

mod duration;

/// Where settings come from: the process environment in `main`, a map in tests.
pub trait EnvSource {
    /// The value of `name`; `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;

    /// All variables whose name begins with `prefix`, sorted by name.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String>;
}

/// Settings over others: those of `over` win.
pub struct Layered<'a> {
    /// What counts where `over` has nothing.
    pub base: &'a dyn EnvSource,
    /// What wins.
    pub over: BTreeMap<String, String>,
}

impl EnvSource for Layered<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.over.get(name).cloned().or_else(|| self.base.get(name))
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let mut all = self.base.with_prefix(prefix);
        all.extend(EnvSource::with_prefix(&self.over, prefix));
        all
    }
}

fn having_prefix<'a>(
    entries: impl Iterator<Item = (&'a str, &'a str)>,
    prefix: &str,
) -> BTreeMap<String, String> {
    let matching = entries.filter(|(name, _)| name.starts_with(prefix));
    matching.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The process environment. A value that is not UTF-8 is read with replacement characters, so that
/// it is reported as bad instead of ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl EnvSource for ProcessEnv {
    #[allow(clippy::disallowed_methods, reason = "the one reader of the environment")]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let all = std::env::vars_os();
        let all = all.map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let matching = all.filter(|(name, _)| name.starts_with(prefix));
        matching.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect()
    }
}

impl EnvSource for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        having_prefix(self.iter().map(|(name, value)| (name.as_str(), value.as_str())), prefix)
    }
}

impl EnvSource for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        having_prefix(self.iter().map(|(name, value)| (name.as_str(), value.as_str())), prefix)
    }
}

impl<const N: usize> EnvSource for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<String> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        having_prefix(self.iter().copied(), prefix)
    }
}

/// One setting that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// The variable.
    pub name: String,
    /// Its value; `None` when it is required and not set.
    pub value: Option<String>,
    /// What would be accepted.
    pub accepted: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, accepted } = self;
        match value {
            Some(value) => write!(f, "{name}={value:?}: expected {accepted}"),
            None => write!(f, "{name} is not set: expected {accepted}"),
        }
    }
}

/// All settings that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSettings(pub Vec<BadSetting>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "setting" } else { "settings" };
        write!(f, "{} bad {noun} in the environment:", self.0.len())?;
        self.0.iter().try_for_each(|bad| write!(f, "\n  {bad}"))
    }
}

impl std::error::Error for BadSettings {}

/// Reads settings and remembers what was wrong with them.
///
/// Getters give the default for a missing, empty or bad value; [`Settings::finish`] fails if any
/// was bad.
///
/// ```
/// use mesh_rt::settings::Settings;
/// let settings = Settings::new(&[("PORT", "many"), ("VERBOSE", "perhaps")]);
/// let port = settings.int("PORT", 9080, 1..=65535);
/// let verbose = settings.bool("VERBOSE", false);
/// assert_eq!((port, verbose), (9080, false));
/// let report = settings.finish().unwrap_err().to_string();
/// assert!(report.contains("PORT=\"many\": expected a whole number from 1 to 65535"));
/// assert!(report.contains("VERBOSE=\"perhaps\": expected true or false"));
/// ```
pub struct Settings<'a> {
    source: &'a dyn EnvSource,
    bad: RefCell<Vec<BadSetting>>,
}

impl<'a> Settings<'a> {
    /// Reads from `source`.
    #[must_use]
    pub fn new(source: &'a dyn EnvSource) -> Self {
        Self { source, bad: RefCell::default() }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Every value that was bad, in the order they were asked for.
    pub fn finish(&self) -> Result<(), BadSettings> {
        let bad = self.bad.take();
        if bad.is_empty() { Ok(()) } else { Err(BadSettings(bad)) }
    }

    /// The text of `name`, trimmed; `None` when not set or empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.source.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The text of `name`.
    #[must_use]
    pub fn string(&self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// The text of `name`, which must be set; gives an empty text when it is not.
    #[must_use]
    pub fn required(&self, name: &str, accepted: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.reject(name, None, accepted);
            String::new()
        })
    }

    /// `true`/`false`, also `1`/`0`, `yes`/`no`, `on`/`off`, in any case.
    #[must_use]
    pub fn bool(&self, name: &str, default: bool) -> bool {
        self.with(name, "true or false", parse_bool).unwrap_or(default)
    }

    /// A whole number within `range`.
    #[must_use]
    pub fn int<T>(&self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        self.optional_int(name, range).unwrap_or(default)
    }

    /// A whole number within `range`, if set.
    #[must_use]
    pub fn optional_int<T>(&self, name: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.with(name, &accepted, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// A duration such as `10s`, `1m30s` or `250ms`.
    #[must_use]
    pub fn duration(&self, name: &str, default: Duration) -> Duration {
        let accepted = "a duration such as 10s, 1m30s or 250ms";
        self.with(name, accepted, |text| parse_duration(text).ok()).unwrap_or(default)
    }

    /// An address with port; `off` gives `None`.
    #[must_use]
    pub fn address(&self, name: &str, default: Option<SocketAddr>) -> Option<SocketAddr> {
        let accepted = "an address such as 127.0.0.1:15000 or [::1]:15000, or off";
        let parse = |text: &str| match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        };
        self.with(name, accepted, parse).unwrap_or(default)
    }

    /// A file system path.
    #[must_use]
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        PathBuf::from(self.string(name, default))
    }

    /// A list separated by commas, without empty items.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// One of `choices`, by name in any case.
    #[must_use]
    pub fn choice<T: Copy>(&self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let accepted = format!("one of {}", names.join(", "));
        let find = |text: &str| {
            let found = choices.iter().find(|(choice, _)| choice.eq_ignore_ascii_case(text));
            found.map(|(_, value)| *value)
        };
        self.with(name, &accepted, find).unwrap_or(default)
    }

    /// Anything that parses; `accepted` says what does.
    #[must_use]
    pub fn parsed<T: FromStr>(&self, name: &str, accepted: &str) -> Option<T> {
        self.with(name, accepted, |text| text.parse().ok())
    }

    /// All variables whose name begins with `prefix`, sorted by name.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        self.source.with_prefix(prefix)
    }

    /// Reports `name` as bad: for checks across several settings.
    pub fn reject(&self, name: &str, value: Option<String>, accepted: &str) {
        let bad = BadSetting { name: name.to_owned(), value, accepted: accepted.to_owned() };
        self.bad.borrow_mut().push(bad);
    }

    fn with<T>(
        &self,
        name: &str,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.optional(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.reject(name, Some(text), accepted);
        }
        parsed
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
