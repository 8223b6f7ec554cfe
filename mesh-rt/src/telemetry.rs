//! Logs: tracing to standard error as text or JSON, with a filter that can change at run time.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::settings::Settings;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `LOG_FORMAT`: `plain` or `json`.
    pub format: LogFormat,
    /// `LOG_LEVEL`, else `RUST_LOG`: a level or directives such as `info,mesh_rt=debug`.
    pub filter: String,
}

impl LogSettings {
    /// Reads `LOG_FORMAT`, `LOG_LEVEL` and `RUST_LOG`.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let formats = [("plain", LogFormat::Plain), ("json", LogFormat::Json)];
        let format = settings.choice("LOG_FORMAT", LogFormat::Plain, &formats);
        let mut filter = "info".to_owned();
        for name in ["RUST_LOG", "LOG_LEVEL"] {
            match settings.optional(name) {
                Some(text) if parse_filter(&text).is_ok() => filter = text,
                Some(text) => settings.reject(name, Some(text), FILTER_SYNTAX),
                None => {}
            }
        }
        Self { format, filter }
    }
}

const FILTER_SYNTAX: &str =
    "a level (error, warn, info, debug, trace, off) or directives such as info,mesh_rt=debug";

/// A filter text that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log filter {text:?} is not {FILTER_SYNTAX}")]
pub struct BadFilter {
    /// The text.
    pub text: String,
}

/// Changes the log filter of a running process.
#[derive(Clone)]
pub struct LogControl {
    reload: Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    current: Arc<Mutex<String>>,
    initial: Arc<str>,
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").field("filter", &self.filter()).finish_non_exhaustive()
    }
}

impl LogControl {
    /// A control that remembers filters and changes nothing: for tests and for parts that run
    /// inside another program's logging.
    #[must_use]
    pub fn detached(filter: &str) -> Self {
        Self {
            reload: Arc::new(|_| true),
            current: Arc::new(Mutex::new(filter.to_owned())),
            initial: filter.into(),
        }
    }

    /// The filter now in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.current.lock().clone()
    }

    /// Replaces the filter. Istio's `scope:level` is understood as `scope=level`.
    ///
    /// # Errors
    /// [`BadFilter`]; the old filter stays.
    pub fn set_filter(&self, text: &str) -> Result<(), BadFilter> {
        let filter = parse_filter(text)?;
        if (self.reload)(filter) {
            *self.current.lock() = text.to_owned();
        }
        Ok(())
    }

    /// Goes back to the filter the process started with.
    pub fn reset(&self) {
        let initial = self.initial.clone();
        // The initial filter parsed once already.
        let _parsed = self.set_filter(&initial);
    }
}

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// When the filter does not parse. If some logging is installed already (a test harness), that one
/// stays, and the control given back changes nothing.
pub fn init(settings: &LogSettings) -> Result<LogControl, BadFilter> {
    let (filter, handle) =
        reload::Layer::<EnvFilter, Registry>::new(parse_filter(&settings.filter)?);
    let output: Box<dyn Layer<_> + Send + Sync> = match settings.format {
        LogFormat::Plain => plain(),
        LogFormat::Json => json(),
    };
    let subscriber = Registry::default().with(filter).with(output);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return Ok(LogControl::detached(&settings.filter));
    }
    let control = LogControl::detached(&settings.filter);
    Ok(LogControl { reload: Arc::new(move |filter| handle.reload(filter).is_ok()), ..control })
}

fn plain<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let colours = std::io::stderr().is_terminal();
    Box::new(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours))
}

fn json<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    Box::new(
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr),
    )
}

fn parse_filter(text: &str) -> Result<EnvFilter, BadFilter> {
    let bad = || BadFilter { text: text.to_owned() };
    // A lone word that is no level would be taken for a module name and silence everything else.
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',').map(str::trim) {
        let names_target = directive.contains(['=', '[', ':']);
        if !names_target && !known.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            return Err(bad());
        }
    }
    EnvFilter::builder().parse(istio_scopes(text)).map_err(|_| bad())
}

/// Rewrites `scope:level` to `scope=level`, leaving module paths (`a::b`) alone.
fn istio_scopes(text: &str) -> String {
    let rewrite = |directive: &str| match directive.rsplit_once(':') {
        Some((scope, level)) if !scope.ends_with(':') && !directive.contains('=') => {
            format!("{scope}={level}")
        }
        _ => directive.to_owned(),
    };
    text.split(',').map(rewrite).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for good in
            ["info", "WARN", "info,mesh_rt=debug", "mesh_rt::drain:trace", "xds:debug", "off"]
        {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "info,loud", "mesh_rt=loud", "", "info,"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
        assert_eq!(istio_scopes("info,ads:debug,a::b=warn"), "info,ads=debug,a::b=warn");
    }

    #[test]
    fn a_bad_filter_keeps_the_old_one() {
        let control = LogControl::detached("info");
        control.set_filter("debug").unwrap();
        control.set_filter("loud").unwrap_err();
        assert_eq!(control.filter(), "debug");
        control.reset();
        assert_eq!(control.filter(), "info");
    }

    #[test]
    fn settings_report_a_bad_filter() {
        let source = [("RUST_LOG", "debug"), ("LOG_LEVEL", "shout"), ("LOG_FORMAT", "xml")];
        let settings = Settings::new(&source);
        assert_eq!(LogSettings::read(&settings).filter, "debug");
        assert_eq!(settings.finish().unwrap_err().0.len(), 2);
    }
}
