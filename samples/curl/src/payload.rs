//! The body of requests: data, forms, files.

use std::io::Read;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::args::Args;
use crate::console::Console;
use crate::error::CurlError;

/// The largest body that is sent.
const BODY_BYTES: u64 = 256 << 20;

/// What `--data-urlencode` escapes.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A body with its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The body; none sends none.
    pub(crate) body: Option<Vec<u8>>,
    /// Its type, unless the user gives one.
    pub(crate) content_type: Option<String>,
    /// What `-G` adds to queries.
    pub(crate) query: Option<String>,
    /// The method that it implies.
    pub(crate) method: Option<&'static str>,
}

/// What a file holds; `-` is standard input.
pub(crate) fn read_file(name: &str, console: &mut Console) -> Result<Vec<u8>, CurlError> {
    let failed = |cause| CurlError::Read { file: name.to_owned(), cause };
    let mut bytes = Vec::new();
    let count = match name {
        "-" => console.stdin.by_ref().take(BODY_BYTES).read_to_end(&mut bytes),
        name => std::fs::File::open(name).and_then(|f| f.take(BODY_BYTES).read_to_end(&mut bytes)),
    };
    match count {
        Ok(count) if (count as u64) < BODY_BYTES => Ok(bytes),
        Ok(_) => Err(failed(std::io::ErrorKind::FileTooLarge.into())),
        Err(cause) => Err(failed(cause)),
    }
}

/// Puts the body together; `boundary` parts a multipart form.
pub(crate) fn build(
    args: &Args,
    console: &mut Console,
    boundary: &str,
) -> Result<Payload, CurlError> {
    if let Some(file) = &args.upload_file {
        let body = Some(read_file(file, console)?);
        return Ok(Payload { body, method: Some("PUT"), ..Payload::default() });
    }
    if !args.form.is_empty() {
        let body = Some(multipart(&args.form, console, boundary)?);
        let content_type = Some(format!("multipart/form-data; boundary={boundary}"));
        return Ok(Payload { body, content_type, method: Some("POST"), query: None });
    }
    let (parts, json) = parts(args, console)?;
    if parts.is_empty() {
        return Ok(Payload::default());
    }
    if args.get {
        let query = String::from_utf8_lossy(&parts.join(&b'&')).into_owned();
        return Ok(Payload { query: Some(query), ..Payload::default() });
    }
    let (between, kind) = match json {
        true => (&b""[..], "application/json"),
        false => (&b"&"[..], "application/x-www-form-urlencoded"),
    };
    let (body, content_type) = (Some(parts.join(between)), Some(kind.to_owned()));
    Ok(Payload { body, content_type, method: Some("POST"), query: None })
}

fn parts(args: &Args, console: &mut Console) -> Result<(Vec<Vec<u8>>, bool), CurlError> {
    let mut parts = Vec::new();
    for text in &args.data {
        parts.push(match text.strip_prefix('@') {
            Some(file) => {
                let mut bytes = read_file(file, console)?;
                bytes.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                bytes
            }
            None => text.clone().into_bytes(),
        });
    }
    parts.extend(args.data_raw.iter().map(|text| text.clone().into_bytes()));
    for text in args.data_binary.iter().chain(&args.json) {
        parts.push(match text.strip_prefix('@') {
            Some(file) => read_file(file, console)?,
            None => text.clone().into_bytes(),
        });
    }
    for text in &args.data_urlencode {
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        parts.push(
            match text.split_once('=') {
                Some(("", value)) => escape(value),
                Some((name, value)) => format!("{name}={}", escape(value)),
                None => escape(text),
            }
            .into_bytes(),
        );
    }
    Ok((parts, !args.json.is_empty()))
}

fn multipart(
    parts: &[String],
    console: &mut Console,
    boundary: &str,
) -> Result<Vec<u8>, CurlError> {
    let mut body = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| {
            CurlError::Usage(format!("option -F: {part}: name=value is expected"))
        })?;
        let (value, kind) = match value.split_once(";type=") {
            Some((value, kind)) => (value, Some(kind)),
            None => (value, None),
        };
        let mut extra = String::new();
        let content = match (value.strip_prefix('@'), value.strip_prefix('<')) {
            (Some(file), _) => {
                let short = file.rsplit('/').next().unwrap_or(file);
                let kind = kind.unwrap_or("application/octet-stream");
                extra = format!("; filename=\"{short}\"\r\nContent-Type: {kind}");
                read_file(file, console)?
            }
            (None, Some(file)) => read_file(file, console)?,
            (None, None) => {
                if let Some(kind) = kind {
                    extra = format!("\r\nContent-Type: {kind}");
                }
                value.as_bytes().to_vec()
            }
        };
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{extra}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(line: &[&str]) -> Payload {
        let arguments: Vec<String> = line.iter().chain(&["x"]).map(|text| (*text).into()).collect();
        let mut console = Console {
            stdout: Box::new(std::io::sink()),
            stderr: Box::new(std::io::sink()),
            stdin: Box::new(&b"from\nstdin\n"[..]),
        };
        build(&Args::read(&arguments).unwrap(), &mut console, "B").unwrap()
    }

    #[test]
    fn bodies() {
        for (line, body, kind) in [
            (&["-d", "a=1", "-d", "b=2"][..], "a=1&b=2", "application/x-www-form-urlencoded"),
            (&["-d", ""], "", "application/x-www-form-urlencoded"),
            (&["-d", "@-"], "fromstdin", "application/x-www-form-urlencoded"),
            (&["--data-binary", "@-"], "from\nstdin\n", "application/x-www-form-urlencoded"),
            (&["--data-raw", "@-"], "@-", "application/x-www-form-urlencoded"),
            (&["--data-urlencode", "a=b c&"], "a=b%20c%26", "application/x-www-form-urlencoded"),
            (&["--json", "{}"], "{}", "application/json"),
            (
                &["-F", "a=1", "-F", "f=@-;type=text/x"],
                "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
                 --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"-\"\r\n\
                 Content-Type: text/x\r\n\r\nfrom\nstdin\n\r\n--B--\r\n",
                "multipart/form-data; boundary=B",
            ),
        ] {
            let payload = built(line);
            assert_eq!(payload.body.as_deref(), Some(body.as_bytes()), "{line:?}");
            assert_eq!(
                (payload.content_type.as_deref(), payload.method),
                (Some(kind), Some("POST"))
            );
        }
        assert_eq!(built(&["-G", "-d", "a=1"]).query.as_deref(), Some("a=1"));
        assert_eq!(built(&["-T", "-"]).method, Some("PUT"));
        assert_eq!(built(&[]), Payload::default());
    }
}
