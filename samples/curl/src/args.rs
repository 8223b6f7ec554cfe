//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, error::ErrorKind};

use crate::error::CurlError;

/// Sends requests by HTTP and shows the answers.
#[derive(Parser, Clone, Debug, Default)]
#[command(name = "curl", version, about, disable_help_flag = true, max_term_width = 100)]
pub struct Args {
    /// Where to send requests.
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// Another URL.
    #[arg(long = "url", value_name = "URL")]
    pub more_urls: Vec<String>,

    /// The method.
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub request: Option<String>,
    /// Asks for the head only.
    #[arg(short = 'I', long)]
    pub head: bool,
    /// A header field: `Name: value`; `Name:` takes one of curl's own away, `Name;` is empty.
    #[arg(short = 'H', long = "header", value_name = "FIELD", allow_hyphen_values = true)]
    pub headers: Vec<String>,
    /// The User-Agent field.
    #[arg(short = 'A', long, value_name = "NAME", allow_hyphen_values = true)]
    pub user_agent: Option<String>,
    /// The Referer field.
    #[arg(short = 'e', long, value_name = "URL")]
    pub referer: Option<String>,
    /// Credentials for basic authentication: `user:password`.
    #[arg(short = 'u', long, value_name = "USER:PASSWORD")]
    pub user: Option<String>,
    /// Basic authentication, which is what there is.
    #[arg(long)]
    pub basic: bool,
    /// A bearer token.
    #[arg(long, value_name = "TOKEN")]
    pub oauth2_bearer: Option<String>,
    /// Asks for a compressed answer. It is shown as it comes.
    #[arg(long)]
    pub compressed: bool,

    /// Data of a form; `@file` or `@-` reads it. Makes the method POST.
    #[arg(
        short = 'd',
        long = "data",
        alias = "data-ascii",
        value_name = "DATA",
        allow_hyphen_values = true
    )]
    pub data: Vec<String>,
    /// Data as they are, `@` too.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub data_raw: Vec<String>,
    /// Data as they are; `@file` reads them with their line breaks.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub data_binary: Vec<String>,
    /// Data that are escaped: `text`, `=text`, `name=text`.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub data_urlencode: Vec<String>,
    /// JSON, with the header fields that say so.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub json: Vec<String>,
    /// A part of a multipart form: `name=value`, `name=@file`, `name=<file`.
    #[arg(short = 'F', long = "form", value_name = "NAME=VALUE")]
    pub form: Vec<String>,
    /// Data go into the query.
    #[arg(short = 'G', long)]
    pub get: bool,
    /// A file to PUT.
    #[arg(short = 'T', long, value_name = "FILE")]
    pub upload_file: Option<String>,

    /// A file for the body; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<String>,
    /// The body goes to a file named as the URL's last part.
    #[arg(short = 'O', long)]
    pub remote_name: bool,
    /// Shows heads, too.
    #[arg(short, long, visible_alias = "show-headers")]
    pub include: bool,
    /// A file for heads; `-` is standard output.
    #[arg(short = 'D', long, value_name = "FILE")]
    pub dump_header: Option<String>,
    /// What to print at the end: `%{http_code}`, `%{time_total}`, …; `@file` reads it.
    #[arg(short, long, value_name = "FORMAT", allow_hyphen_values = true)]
    pub write_out: Option<String>,
    /// No messages.
    #[arg(short, long)]
    pub silent: bool,
    /// Messages of errors in spite of `-s`.
    #[arg(short = 'S', long)]
    pub show_error: bool,
    /// Tells of every step on standard error.
    #[arg(short, long)]
    pub verbose: bool,
    /// No error messages for statuses of 400 and more, no bodies, but exit code 22.
    #[arg(short, long)]
    pub fail: bool,
    /// As --fail, with bodies.
    #[arg(long)]
    pub fail_with_body: bool,

    /// Follows redirects.
    #[arg(short = 'L', long)]
    pub location: bool,
    /// Follows redirects, and shows credentials to every host.
    #[arg(long)]
    pub location_trusted: bool,
    /// The most redirects to follow; -1 is no limit.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, allow_hyphen_values = true)]
    pub max_redirs: i32,
    /// Tries again after errors that may pass.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub retry: u32,
    /// Seconds between tries; without it 1, 2, 4, …
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub retry_delay: Option<Duration>,
    /// Tries again also when nobody listens.
    #[arg(long)]
    pub retry_connrefused: bool,
    /// Tries again after any error.
    #[arg(long)]
    pub retry_all_errors: bool,

    /// Seconds for all of it.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub max_time: Option<Duration>,
    /// Seconds for the connection.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub connect_timeout: Option<Duration>,
    /// An address for a name: `host:port:address`; `*` is any host.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<String>,
    /// Another place to connect to: `host1:port1:host2:port2`, each part may be empty.
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2")]
    pub connect_to: Vec<String>,
    /// An HTTP proxy: `host:port`.
    #[arg(short = 'x', long, value_name = "URL")]
    pub proxy: Option<String>,
    /// IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only.
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// HTTP/1.0.
    #[arg(short = '0', long = "http1.0")]
    pub http1_0: bool,
    /// HTTP/1.1.
    #[arg(long = "http1.1")]
    pub http1_1: bool,
    /// HTTP/2 where TLS agrees on it.
    #[arg(long)]
    pub http2: bool,
    /// HTTP/2 in clear, too.
    #[arg(long)]
    pub http2_prior_knowledge: bool,

    /// Accepts any certificate.
    #[arg(short = 'k', long)]
    pub insecure: bool,
    /// The roots to check certificates with.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// A client's certificate chain.
    #[arg(short = 'E', long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The key of --cert, if that file does not have it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// TLS 1.2 at least, as always.
    #[arg(long = "tlsv1.2")]
    pub tlsv1_2: bool,
    /// TLS 1.3 at least.
    #[arg(long = "tlsv1.3")]
    pub tlsv1_3: bool,

    /// Cookies: `name=value; …`, or a file of them.
    #[arg(short = 'b', long, value_name = "COOKIES")]
    pub cookie: Vec<String>,
    /// A file for the cookies at the end; `-` is standard output.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub cookie_jar: Option<String>,

    /// Results are never held back, so this changes nothing.
    #[arg(short = 'N', long)]
    pub no_buffer: bool,
    /// There is no progress meter, so this changes nothing.
    #[arg(long)]
    pub no_progress_meter: bool,
    /// There is no progress bar, so this changes nothing.
    #[arg(short = '#', long)]
    pub progress_bar: bool,
    /// URLs are taken as they are, so this changes nothing.
    #[arg(short = 'g', long)]
    pub globoff: bool,
    /// No file of defaults is read, so this changes nothing.
    #[arg(short = 'q', long)]
    pub disable: bool,

    /// This text.
    #[arg(short, long, action = ArgAction::HelpShort)]
    pub help: Option<bool>,
}

impl Args {
    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// `Ok` text to print when it asks for help or version; else [`CurlError::Usage`].
    pub fn read(arguments: &[String]) -> Result<Self, Result<String, CurlError>> {
        let named = std::iter::once("curl".to_owned()).chain(arguments.iter().cloned());
        let mut args = Self::try_parse_from(named).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(error.to_string()),
            kind => Err(CurlError::Usage(complaint(kind, &error))),
        })?;
        let more = std::mem::take(&mut args.more_urls);
        args.urls.extend(more);
        if args.urls.is_empty() {
            return Err(Err(CurlError::Usage("(2) no URL specified".to_owned())));
        }
        Ok(args)
    }

    /// Whether redirects are followed.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.location || self.location_trusted
    }

    /// Whether error messages are shown.
    #[must_use]
    pub fn tells_errors(&self) -> bool {
        !self.silent || self.show_error
    }
}

/// What is wrong with a command line, in curl's words where it has them.
fn complaint(kind: ErrorKind, error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.split(' ').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue);
    match kind {
        ErrorKind::UnknownArgument => format!("option {argument}: is unknown"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.is_empty() => {
            format!("option {argument}: requires parameter")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("option {argument}: expected a proper numerical parameter, not {value}")
        }
        _ => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

/// Seconds with a fraction; 0 is no limit in curl, which a day is as well.
fn seconds(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    let seconds: f64 = text.parse().map_err(|_| "seconds are expected".to_owned())?;
    if !(0.0..=1e9).contains(&seconds) {
        return Err("seconds are expected".to_owned());
    }
    Ok(Duration::from_secs_f64(if seconds == 0.0 { DAY } else { seconds.min(DAY) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, Result<String, CurlError>> {
        Args::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_people_type() {
        let args =
            read("-sSLo/dev/null -w%{http_code}\\n -HHost:a -H -b:c -XPOST -m0.5 http://a b");
        let args = args.unwrap();
        assert!(args.silent && args.show_error && args.location);
        assert_eq!(args.output, ["/dev/null"]);
        assert_eq!(args.write_out.as_deref(), Some("%{http_code}\\n"));
        assert_eq!(args.headers, ["Host:a", "-b:c"]);
        assert_eq!(args.request.as_deref(), Some("POST"));
        assert_eq!(args.max_time, Some(Duration::from_millis(500)));
        assert_eq!(args.urls, ["http://a", "b"]);
        assert_eq!(read("-I --url x").unwrap().urls, ["x"]);
        assert_eq!(read("x --max-redirs -1").unwrap().max_redirs, -1);
    }

    #[test]
    fn refusals_in_curls_words() {
        for (line, message) in [
            ("--foo x", "option --foo: is unknown"),
            ("-m abc x", "option --max-time: expected a proper numerical parameter, not abc"),
            ("x -o", "option --output: requires parameter"),
            ("-s", "(2) no URL specified"),
        ] {
            match read(line) {
                Err(Err(CurlError::Usage(text))) => assert_eq!(text, message, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(read("--help").unwrap_err().unwrap().contains("--max-time"));
        assert!(read("-V").unwrap_err().unwrap().starts_with("curl "));
    }
}
