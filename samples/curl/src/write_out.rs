//! `--write-out`: a format with variables of the transfer.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::CurlError;
use crate::stats::Stats;

/// What a format gives: for standard output and for standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Fills in `format`; `error` is the transfer's.
pub(crate) fn fill(format: &str, stats: &Stats, error: Option<&CurlError>) -> Written {
    let mut written = Written::default();
    let mut to_stderr = false;
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        let mut text = String::new();
        let used = match (letter, rest.as_bytes().get(1)) {
            ('%', Some(b'%')) => {
                text.push('%');
                2
            }
            ('%', Some(b'h')) if rest.starts_with("%header{") => match rest.split_once('}') {
                Some((name, _)) => {
                    let field = stats.head.as_ref().and_then(|head| head.header(&name[8..]));
                    text.push_str(field.unwrap_or_default());
                    name.len() + 1
                }
                None => {
                    text.push_str(rest);
                    rest.len()
                }
            },
            ('%', Some(b'{')) => match rest.split_once('}') {
                Some((name, _)) => {
                    match &name[2..] {
                        "stderr" => to_stderr = true,
                        "stdout" => to_stderr = false,
                        name => match variable(name, stats, error) {
                            Some(value) => text = value,
                            None => {
                                let note =
                                    format!("curl: unknown --write-out variable: '{name}'\n");
                                written.stderr.push_str(&note);
                            }
                        },
                    }
                    name.len() + 1
                }
                None => {
                    text.push_str(rest);
                    rest.len()
                }
            },
            ('\\', Some(escape @ (b'n' | b'r' | b't'))) => {
                text.push(match escape {
                    b'n' => '\n',
                    b'r' => '\r',
                    _ => '\t',
                });
                2
            }
            (letter, _) => {
                text.push(letter);
                letter.len_utf8()
            }
        };
        if to_stderr {
            written.stderr.push_str(&text)
        } else {
            written.stdout.push_str(&text)
        }
        rest = &rest[used..];
    }
    written
}

fn variable(name: &str, stats: &Stats, error: Option<&CurlError>) -> Option<String> {
    let time = |time: Duration| format!("{:.6}", time.as_secs_f64());
    let ip = |address: Option<SocketAddr>| address.map_or(String::new(), |a| a.ip().to_string());
    let port = |address: Option<SocketAddr>| address.map_or(0, |a| a.port()).to_string();
    let speed = |bytes: u64| {
        let seconds = stats.total.as_secs_f64();
        if seconds > 0.0 { format!("{:.0}", bytes as f64 / seconds) } else { "0".to_owned() }
    };
    let head = stats.head.as_ref();
    let status = head.map_or(0, |head| head.status);
    Some(match name {
        "http_code" | "response_code" => format!("{status:03}"),
        "http_connect" => "000".to_owned(),
        "http_version" => {
            let version = head.map_or("0", |head| head.version.trim_start_matches("HTTP/"));
            version.to_owned()
        }
        "time_total" => time(stats.total),
        "time_namelookup" => time(stats.resolved),
        "time_connect" => time(stats.connected),
        "time_appconnect" => time(stats.secured),
        "time_pretransfer" | "time_posttransfer" => time(stats.sent),
        "time_starttransfer" => time(stats.first_byte),
        "time_redirect" => time(stats.redirect_time),
        "size_download" => stats.body_bytes.to_string(),
        "size_header" => stats.head_bytes.to_string(),
        "size_request" => stats.request_bytes.to_string(),
        "size_upload" => stats.upload_bytes.to_string(),
        "speed_download" => speed(stats.body_bytes),
        "speed_upload" => speed(stats.upload_bytes),
        "num_connects" => stats.connects.to_string(),
        "num_redirects" => stats.redirects.to_string(),
        "num_headers" => head.map_or(0, |head| head.headers.len()).to_string(),
        "redirect_url" => stats.redirect_url.clone(),
        "url" => stats.url.clone(),
        "url_effective" => stats.effective_url.clone(),
        "remote_ip" => ip(stats.remote),
        "remote_port" => port(stats.remote),
        "local_ip" => ip(stats.local),
        "local_port" => port(stats.local),
        "content_type" => {
            head.and_then(|head| head.header("content-type")).unwrap_or_default().to_owned()
        }
        "method" => stats.method.clone(),
        "scheme" => stats.scheme.to_owned(),
        "filename_effective" => stats.file.clone(),
        "ssl_verify_result" => {
            u8::from(matches!(error, Some(CurlError::Certificate(_)))).to_string()
        }
        "exitcode" => error.map_or(0, CurlError::code).to_string(),
        "errormsg" => error.map(ToString::to_string).unwrap_or_default(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Head;

    #[test]
    fn formats() {
        let mut stats = Stats::new("http://a/");
        stats.head = Head::parse(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nX-A: b\r\n\r\n");
        stats.total = Duration::from_millis(1500);
        stats.body_bytes = 30;
        for (format, expected) in [
            ("%{http_code}\\n", "200\n"),
            ("a%%b\\tc\\\\", "a%b\tc\\\\"),
            ("%{time_total} %{size_download} %{speed_download}", "1.500000 30 20"),
            ("%{content_type}|%{http_version}|%{num_connects}", "text/x|1.1|0"),
            ("%{exitcode} %{redirect_url}%{remote_port}", "0 0"),
            ("%{unclosed", "%{unclosed"),
            ("%header{x-a}%header{none}|%header{x", "b|%header{x"),
            ("100%", "100%"),
            ("ä%{http_code}", "ä200"),
        ] {
            assert_eq!(fill(format, &stats, None).stdout, expected, "{format}");
        }
        let written = fill("x%{nope}%{stderr}y%{stdout}z", &stats, None);
        assert_eq!(written.stdout, "xz");
        assert_eq!(written.stderr, "curl: unknown --write-out variable: 'nope'\ny");
        let failed =
            fill("%{http_code} %{exitcode} %{errormsg}", &Stats::new("x"), Some(&CurlError::Empty));
        assert_eq!(failed.stdout, "000 52 Empty reply from server");
    }

    proptest::proptest! {
        #[test]
        fn any_format_is_filled_in(format in "(%|\\{|\\}|\\\\|n|a|http_code|header|ä){0,20}") {
            let written = fill(&format, &Stats::new("x"), None);
            proptest::prop_assert!(written.stdout.len() <= format.len());
        }
    }
}
