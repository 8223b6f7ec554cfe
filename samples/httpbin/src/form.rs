//! Bodies taken apart by their content type: forms, multipart forms, JSON, and all else as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::request::{AppRequest, Values, form_values};

/// Parts of a multipart body that are read.
const PARTS: usize = 1000;

/// A body, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parsed {
    /// The body as text; as a `data:` URL if it is none. Empty for forms.
    pub(crate) data: String,
    /// Files of a multipart form.
    pub(crate) files: Values,
    /// Fields of a form.
    pub(crate) form: Values,
    /// The body, if it says that it is JSON.
    pub(crate) json: Value,
}

/// Takes the body of `request` apart; the error says what is wrong with it.
pub(crate) fn parse(request: &AppRequest) -> Result<Parsed, String> {
    let full_type = request.header("content-type").unwrap_or_default();
    let (kind, parameters) = full_type.split_once(';').unwrap_or((full_type, ""));
    match kind.trim().to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => {
            Ok(Parsed { form: form_values(&request.body), ..Parsed::default() })
        }
        "multipart/form-data" => {
            let boundary = parameter(parameters, "boundary").filter(|text| !text.is_empty());
            multipart(&request.body, boundary.ok_or("the multipart body has no boundary")?)
        }
        "application/json" if !request.body.is_empty() => {
            let json = serde_json::from_slice(&request.body).map_err(|err| err.to_string())?;
            Ok(Parsed { data: text(&request.body, kind), json, ..Parsed::default() })
        }
        _ => Ok(Parsed { data: text(&request.body, kind), ..Parsed::default() }),
    }
}

/// The body as text; bytes that are none become a `data:` URL.
fn text(body: &[u8], kind: &str) -> String {
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_binary) => {
            let kind = if kind.is_empty() { "application/octet-stream" } else { kind };
            format!("data:{kind};base64,{}", STANDARD.encode(body))
        }
    }
}

/// A parameter of a header field: `name=value` or `name="value"`.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"'))
    })
}

fn multipart(body: &[u8], boundary: &str) -> Result<Parsed, String> {
    let delimiter = format!("--{boundary}");
    let mut parsed = Parsed::default();
    let mut rest = body;
    let mut parts = 0;
    let Some(start) = find(rest, delimiter.as_bytes()) else {
        return Err("the multipart body has no part".to_owned());
    };
    rest = &rest[start + delimiter.len()..];
    while !rest.starts_with(b"--") {
        parts += 1;
        if parts > PARTS {
            return Err(format!("the multipart body has more than {PARTS} parts"));
        }
        let end = find(rest, format!("\r\n{delimiter}").as_bytes());
        let end = end.ok_or("the multipart body ends without its boundary")?;
        part(&rest[..end], &mut parsed)?;
        rest = &rest[end + 2 + delimiter.len()..];
    }
    Ok(parsed)
}

/// Reads one part, which begins with the line break after its boundary.
fn part(raw: &[u8], parsed: &mut Parsed) -> Result<(), String> {
    let head_end = find(raw, b"\r\n\r\n").ok_or("a part of the multipart body has no head")?;
    let head = String::from_utf8_lossy(&raw[..head_end]).into_owned();
    let content = &raw[head_end + 4..];
    let disposition = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .ok_or("a part of the multipart body has no Content-Disposition")?;
    let name = parameter(disposition, "name").unwrap_or_default().to_owned();
    let place = match parameter(disposition, "filename") {
        Some(_) => &mut parsed.files,
        None => &mut parsed.form,
    };
    place.entry(name).or_default().push(String::from_utf8_lossy(content).into_owned());
    Ok(())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use serde_json::json;

    use super::*;

    fn parsed(kind: &str, body: &[u8]) -> Result<Parsed, String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_str(kind).unwrap());
        parse(&AppRequest {
            method: Method::POST,
            uri: "/post".parse().unwrap(),
            headers,
            body: bytes::Bytes::copy_from_slice(body),
            peer: "127.0.0.1".parse().unwrap(),
        })
    }

    #[test]
    fn bodies_by_their_type() {
        let form = parsed("application/x-www-form-urlencoded", b"a=1&a=2&b=x%20y").unwrap();
        assert_eq!((form.form["a"].len(), form.form["b"][0].as_str()), (2, "x y"));
        let object = parsed("application/json; charset=utf-8", b"{\"a\": [1]}").unwrap();
        assert_eq!((object.json, object.data.as_str()), (json!({"a": [1]}), "{\"a\": [1]}"));
        parsed("application/json", b"{").unwrap_err();
        assert_eq!(parsed("text/plain", b"hello").unwrap().data, "hello");
        assert_eq!(parsed("image/png", b"\xff").unwrap().data, "data:image/png;base64,/w==");
    }

    #[test]
    fn multipart_forms() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\n\
            content-disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\
            Content-Type: text/plain\r\n\r\nline\r\nline\r\n--B--\r\n";
        let read = parsed("multipart/form-data; boundary=\"B\"", body).unwrap();
        assert_eq!(read.form["a"], ["1"]);
        assert_eq!(read.files["f"], ["line\r\nline"]);
        for broken in [&body[..40], b"", b"--B\r\n\r\n--B--", b"--B\r\nno head\r\n--B--"] {
            parsed("multipart/form-data; boundary=B", broken).unwrap_err();
        }
        parsed("multipart/form-data", body).unwrap_err();
    }

    proptest::proptest! {
        #[test]
        fn any_multipart_is_read_or_refused(body in "(--B|\r\n|:|a|; name=\"|Content-Disposition){0,40}") {
            // Either way it ends, and gives no more than there was.
            if let Ok(read) = parsed("multipart/form-data; boundary=B", body.as_bytes()) {
                let given: usize = read.form.values().chain(read.files.values()).flatten().map(String::len).sum();
                proptest::prop_assert!(given <= body.len());
            }
        }
    }
}
