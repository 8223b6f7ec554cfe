//! The command line, as fortio takes it: `-name value` or `-name=value`, one dash or two.

use std::time::Duration;

/// The command line cannot be followed; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Shows this help.
    Help,
    /// Shows the version.
    Version,
    /// Sends load.
    Load(Flags),
    /// Sends one request.
    Curl(Flags),
    /// Answers requests on this port.
    Server(u16),
}

/// How to send load.
#[derive(Clone, Debug, PartialEq)]
pub struct Flags {
    /// The URL.
    pub url: String,
    /// `-c`: connections at the same time.
    pub connections: usize,
    /// `-qps`: requests per second over all connections; 0 is as fast as possible.
    pub qps: f64,
    /// `-n`: requests in all; 0 is as many as `-t` allows.
    pub count: u64,
    /// `-t`: how long.
    pub duration: Duration,
    /// `-timeout`: how long one request may take.
    pub timeout: Duration,
    /// `-H`: header fields, `Name: value`.
    pub headers: Vec<String>,
    /// `-X`: the method; POST with a payload, else GET.
    pub method: Option<String>,
    /// `-payload`: a body.
    pub payload: String,
    /// `-content-type`: its type.
    pub content_type: Option<String>,
    /// `-user`: `user:password`.
    pub user: Option<String>,
    /// `-keepalive`: connections are used again.
    pub keep_alive: bool,
    /// `-p`: percentiles.
    pub percentiles: Vec<f64>,
    /// `-r`: the histogram's resolution in seconds.
    pub resolution: f64,
    /// `-loglevel` is Warning or finer, and there is no `-quiet`.
    pub tells_warnings: bool,
    /// `-quiet`: only the summary.
    pub quiet: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            url: String::new(),
            connections: 4,
            qps: 8.0,
            count: 0,
            duration: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            headers: Vec::new(),
            method: None,
            payload: String::new(),
            content_type: None,
            user: None,
            keep_alive: true,
            percentiles: vec![50.0, 75.0, 90.0, 99.0, 99.9],
            resolution: 0.001,
            tells_warnings: true,
            quiet: false,
        }
    }
}

/// What `--help` shows.
pub const HELP: &str = "Sends load to an HTTP service and sums up what came back.

Usage: fortio load [flags] URL      many requests
       fortio curl [flags] URL      one request, and its answer
       fortio server [-http-port N] answers requests: /echo?status=503&delay=1s&size=100

  -c N             connections at the same time (4)
  -qps RATE        requests per second over all connections, 0 is the most (8)
  -n N             requests in all, in place of -t
  -t DURATION      how long (5s)
  -timeout DURATION  how long one request may take (3s)
  -H 'Name: value' a header field, any number of times
  -X METHOD        the method
  -payload TEXT    a body, with -content-type TYPE
  -user U:P        basic authentication
  -keepalive=false a connection for each request
  -p 50,90,99.9    percentiles
  -r SECONDS       the resolution of the histogram (0.001)
  -loglevel LEVEL  Debug, Verbose, Info, Warning, Error, Critical (Info)
  -quiet           only results
  -curl            with load: one request, as `fortio curl`
  -a               changes nothing: there are no files of results
";

/// Reads the words after the program's name.
///
/// # Errors
/// [`UsageError`].
pub fn parse(words: &[String]) -> Result<Command, UsageError> {
    let (command, rest) = words.split_first().map_or(("help", words), |(c, r)| (c.as_str(), r));
    match command {
        "help" | "-h" | "--help" | "-help" => Ok(Command::Help),
        "version" | "--version" | "-version" | "buildinfo" => Ok(Command::Version),
        "server" => server(rest),
        "load" | "curl" => load(command == "curl", rest),
        other => Err(UsageError(format!("{other}: load, curl or server is expected"))),
    }
}

fn server(words: &[String]) -> Result<Command, UsageError> {
    let mut port = 8080;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match flag(word) {
            Some((name @ "http-port", inline)) => {
                let text = value(name, inline, &mut words)?;
                let bad = |_| wrong(name, &text, "a port");
                port = text.rsplit(':').next().unwrap_or(&text).parse().map_err(bad)?;
            }
            Some(("h" | "help", _)) => return Ok(Command::Help),
            _ => return Err(UsageError(format!("flag provided but not defined: {word}"))),
        }
    }
    Ok(Command::Server(port))
}

fn load(one: bool, words: &[String]) -> Result<Command, UsageError> {
    let mut flags = Flags::default();
    let mut curl = one;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some((name, inline)) = flag(word) else {
            if !flags.url.is_empty() {
                return Err(UsageError(format!("{word}: one URL is expected")));
            }
            flags.url.clone_from(word);
            continue;
        };
        match name {
            "h" | "help" => return Ok(Command::Help),
            "curl" => curl = boolean(name, inline)?,
            "a" | "stdclient" | "allow-initial-errors" | "nocatchup" => {
                boolean(name, inline)?;
            }
            "quiet" => flags.quiet = boolean(name, inline)?,
            "keepalive" => flags.keep_alive = boolean(name, inline)?,
            _ => set(&mut flags, name, &value(name, inline, &mut words)?)?,
        }
    }
    if flags.url.is_empty() {
        return Err(UsageError("a URL is expected".to_owned()));
    }
    flags.tells_warnings &= !flags.quiet;
    Ok(if curl { Command::Curl(flags) } else { Command::Load(flags) })
}

fn set(flags: &mut Flags, name: &str, text: &str) -> Result<(), UsageError> {
    match name {
        "c" => {
            flags.connections = in_range(name, text, 1..=10_000, "1 to 10000")?;
        }
        "n" => flags.count = text.parse().map_err(|_| wrong(name, text, "a number"))?,
        "qps" if text == "max" => flags.qps = 0.0,
        "qps" => flags.qps = positive(name, text)?,
        "r" => flags.resolution = positive(name, text)?.max(1e-9),
        "t" => flags.duration = duration(name, text)?,
        "timeout" => flags.timeout = duration(name, text)?,
        "H" => flags.headers.push(text.to_owned()),
        "X" => flags.method = Some(text.to_owned()),
        "payload" => text.clone_into(&mut flags.payload),
        "content-type" => flags.content_type = Some(text.to_owned()),
        "user" => flags.user = Some(text.to_owned()),
        "p" => {
            let list = text.split(',').map(|part| positive(name, part.trim()));
            flags.percentiles = list.collect::<Result<_, _>>()?;
        }
        "loglevel" => {
            flags.tells_warnings = match text.to_ascii_lowercase().as_str() {
                "debug" | "verbose" | "info" | "warning" | "warn" => true,
                "error" | "critical" | "fatal" => false,
                _ => return Err(wrong(name, text, "a level such as Warning")),
            }
        }
        _ => return Err(UsageError(format!("flag provided but not defined: -{name}"))),
    }
    Ok(())
}

/// A flag's name, and its value if that follows `=`.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

fn value<'a>(
    name: &str,
    inline: Option<&str>,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<String, UsageError> {
    let next = || words.next().cloned();
    let missing = || UsageError(format!("flag needs an argument: -{name}"));
    inline.map(str::to_owned).or_else(next).ok_or_else(missing)
}

fn wrong(name: &str, text: &str, expected: &str) -> UsageError {
    UsageError(format!("invalid value {text:?} for flag -{name}: {expected} is expected"))
}

fn boolean(name: &str, inline: Option<&str>) -> Result<bool, UsageError> {
    match inline {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(other) => Err(wrong(name, other, "true or false")),
    }
}

fn in_range(
    name: &str,
    text: &str,
    range: std::ops::RangeInclusive<usize>,
    expected: &str,
) -> Result<usize, UsageError> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| wrong(name, text, expected))
}

fn positive(name: &str, text: &str) -> Result<f64, UsageError> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| wrong(name, text, "a number of at least 0"))
}

/// Reads a duration of Go: `1m30s`, `500ms`, `0`; at most a day.
fn duration(name: &str, text: &str) -> Result<Duration, UsageError> {
    go_duration(text).ok_or_else(|| wrong(name, text, "a duration such as 5s, of at most 24h,"))
}

/// As [`duration`], without words for errors.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    const DAY: f64 = 86_400.0;
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &unit[end..];
    }
    (!text.is_empty() && seconds <= DAY).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, UsageError> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_people_type() {
        let line = "load -c 2 -qps 0 -n 20 -loglevel Warning -H A:b --t=1m0.5s http://h:1/get";
        let Command::Load(flags) = read(line).unwrap() else { panic!("no load") };
        assert_eq!((flags.connections, flags.qps, flags.count), (2, 0.0, 20));
        assert_eq!(
            (flags.headers.as_slice(), flags.url.as_str()),
            (&["A:b".to_owned()][..], "http://h:1/get")
        );
        assert_eq!(flags.duration, Duration::from_millis(60_500));
        assert!(flags.tells_warnings && flags.keep_alive);
        assert!(matches!(read("curl -quiet http://h").unwrap(), Command::Curl(f) if f.quiet));
        assert!(
            matches!(read("load -curl -keepalive=false h").unwrap(), Command::Curl(f) if !f.keep_alive)
        );
        assert_eq!(read("server -http-port 0.0.0.0:81").unwrap(), Command::Server(81));
        assert_eq!(parse(&[]).unwrap(), Command::Help);
        assert_eq!(read("load --help").unwrap(), Command::Help);
    }

    #[test]
    fn refusals_name_the_flag() {
        for (line, message) in [
            ("load", "a URL is expected"),
            ("load a b", "b: one URL is expected"),
            ("load -c 0 x", "invalid value \"0\" for flag -c"),
            ("load x -nope", "flag needs an argument: -nope"),
            ("load -nope 1 x", "flag provided but not defined: -nope"),
            ("load -t 5 x", "invalid value \"5\" for flag -t"),
            ("load -t 25h x", "at most 24h"),
            ("load -keepalive=maybe x", "true or false"),
            ("sing", "sing: load, curl or server"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_duration_is_read_or_refused(text in "[0-9.hmsun]{0,12}") {
            if let Some(time) = go_duration(&text) {
                proptest::prop_assert!(time <= Duration::from_secs(86_400));
            }
        }
    }
}
