//! `/logging`: Envoy's loggers, each a part of this program, and their levels.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::StatusCode;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use mesh_rt::telemetry::LogControl;
use parking_lot::Mutex;

use super::Pages;

/// Envoy's loggers that have a part here, and the part.
const LOGGERS: [(&str, &str); 16] = [
    ("admin", "proxy::admin"),
    ("client", "proxy::upstream::connection"),
    ("config", "proxy::xds"),
    ("connection", "proxy::listener"),
    ("dns", "proxy::dns"),
    ("filter", "proxy::l4"),
    ("grpc", "tonic"),
    ("health_checker", "proxy::health"),
    ("hc", "proxy::status"),
    ("http", "proxy::http"),
    ("main", "mesh_rt"),
    ("pool", "proxy::upstream::pool"),
    ("router", "proxy::http::router"),
    ("secret", "proxy::tls"),
    ("stats", "proxy::observe"),
    ("upstream", "proxy::upstream"),
];

/// Envoy's levels, and the words this program's filters have for them.
const LEVELS: [(&str, &str); 7] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// The levels that were set by page. Nothing is set at first: the filter the process started with
/// is in force.
pub(super) struct Loggers {
    control: LogControl,
    set: Mutex<Levels>,
}

#[derive(Clone, Default)]
struct Levels {
    all: Option<&'static str>,
    one: BTreeMap<&'static str, &'static str>,
}

impl Loggers {
    pub(super) fn new(control: LogControl) -> Self {
        Self { control, set: Mutex::default() }
    }

    /// Applies a change; the text says what is wrong with it.
    fn change(&self, name: &str, level: &str) -> Result<(), String> {
        let known = LEVELS.iter().find(|(envoy, _)| envoy.eq_ignore_ascii_case(level));
        let known = known.or_else(|| LEVELS.iter().find(|(_, own)| *own == level));
        let Some((level, _)) = known else {
            let levels: Vec<&str> = LEVELS.iter().map(|(envoy, _)| *envoy).collect();
            return Err(format!("{level:?} is no level; there are {}", levels.join(", ")));
        };
        let mut set = self.set.lock();
        if name == "level" {
            *set = Levels { all: Some(level), one: BTreeMap::new() };
        } else {
            let Some((name, _)) = LOGGERS.iter().find(|(logger, _)| *logger == name) else {
                let loggers: Vec<&str> = LOGGERS.iter().map(|(logger, _)| *logger).collect();
                return Err(format!("{name:?} is no logger; there are {}", loggers.join(", ")));
            };
            set.one.insert(name, level);
        }
        self.control.set_filter(&set.filter(&self.control)).map_err(|error| error.to_string())
    }

    fn reset(&self) {
        *self.set.lock() = Levels::default();
        self.control.reset();
    }

    fn page(&self) -> String {
        let set = self.set.lock().clone();
        let rest = set.all.unwrap_or("info");
        let mut page = "active loggers:\n".to_owned();
        for (name, _) in LOGGERS {
            let level = set.one.get(name).copied().unwrap_or(rest);
            // Writing to a string does not fail.
            let _infallible = writeln!(page, "  {name}: {level}");
        }
        page
    }
}

impl Levels {
    /// The filter of these levels.
    fn filter(&self, control: &LogControl) -> String {
        let word = |level: &str| {
            LEVELS.iter().find(|(envoy, _)| *envoy == level).map_or("info", |(_, own)| own)
        };
        let mut filter = match self.all {
            Some(level) => word(level).to_owned(),
            None => {
                let current = control.filter();
                let first = current.split(',').find(|part| !part.contains(['=', ':']));
                first.unwrap_or("info").to_owned()
            }
        };
        for (name, level) in &self.one {
            let part = LOGGERS.iter().find(|(logger, _)| logger == name).map_or("", |(_, p)| p);
            // Writing to a string does not fail.
            let _infallible = write!(filter, ",{part}={}", word(level));
        }
        filter
    }
}

/// `GET /logging`.
pub(super) fn get(pages: &Pages, _: &AdminRequest) -> AdminReply {
    text(StatusCode::OK, pages.0.logging.page())
}

/// `POST /logging`: `?level=debug` for all, `?http=debug` for one, `?paths=http:debug,pool:trace`
/// for several, `?reset` for the levels at the start.
pub(super) fn set(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let loggers = &pages.0.logging;
    for pair in request.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        let value = request.query_value(name).unwrap_or_default();
        let changed = match name {
            "reset" => {
                loggers.reset();
                Ok(())
            }
            "paths" => value.split(',').try_for_each(|one| match one.split_once(':') {
                Some((name, level)) => loggers.change(name, level),
                None => Err(format!("{one:?} is no <logger>:<level>")),
            }),
            name => loggers.change(name, &value),
        };
        if let Err(reason) = changed {
            return text(StatusCode::BAD_REQUEST, format!("{reason}\n"));
        }
    }
    get(pages, request)
}
