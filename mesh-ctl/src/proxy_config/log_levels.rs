//! `meshctl proxy-config log`: levels of a proxy's loggers.

use crate::error::Error;
use crate::pod::query_value;

/// Levels, as Envoy names them.
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];
/// The level that `--reset` sets, as istioctl does.
const RESET: &str = "warning";

/// The admin pages that make the changes, in order; none only asks.
///
/// # Errors
/// A usage error for what is no `[<logger>:]<level>`.
pub fn pages(levels: &[String], reset: bool) -> Result<Vec<String>, Error> {
    if reset {
        return Ok(vec![format!("/logging?level={RESET}")]);
    }
    // A level for all loggers first, so that it does not undo the others.
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for text in levels.iter().flat_map(|text| text.split(',')) {
        let (logger, level) = match text.split_once(':') {
            Some((logger, level)) => (Some(logger), level),
            None => (None, text),
        };
        let level = LEVELS.iter().find(|known| known.eq_ignore_ascii_case(level));
        let (Some(level), false) = (level, logger == Some("")) else {
            return Err(Error::Usage(format!(
                "--level {text:?}: write [<logger>:]<level> with a level of {}",
                LEVELS.join(", ")
            )));
        };
        match logger {
            None => all.push(format!("/logging?level={level}")),
            Some(logger) => one.push(format!("/logging?{}={level}", query_value(logger))),
        }
    }
    Ok(all.into_iter().chain(one).collect())
}

/// The answer of the page, as people read it.
pub fn words(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_pages() {
        for (levels, reset, wanted) in [
            (&[][..], false, &[][..]),
            (&[], true, &["/logging?level=warning"]),
            (&["debug"], false, &["/logging?level=debug"]),
            (
                &["http:trace,INFO", "pool:off"],
                false,
                &["/logging?level=info", "/logging?http=trace", "/logging?pool=off"],
            ),
        ] {
            let levels: Vec<_> = levels.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(pages(&levels, reset).unwrap(), wanted, "{levels:?}");
        }
        for wrong in ["loud", "http:", ":debug", ""] {
            let error = pages(&[wrong.to_owned()], false).unwrap_err().to_string();
            assert!(error.contains("[<logger>:]<level>"), "{wrong}: {error}");
        }
    }
}
