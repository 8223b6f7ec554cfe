//! OpenAPI v2, empty: everything is described by v3. kubectl asks for it only to say that a kind
//! is unknown, and could not say so without a document.

use http::{Response, StatusCode};
use serde_json::json;

use super::body::{self, ResponseBody};

/// What kubectl accepts for protobuf.
const ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What the answer is called: `@` may not stand in a media type.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Kubernetes";
const VERSION: &str = "v1.33.0";

/// A document without paths or definitions, in the form that `accept` names.
pub(super) fn serve(accept: &str) -> Response<ResponseBody> {
    if accept.contains(ACCEPTED) || accept.contains(PROTOBUF) {
        return body::bytes(StatusCode::OK, PROTOBUF, protobuf());
    }
    let document = json!({
        "swagger": "2.0",
        "info": { "title": TITLE, "version": VERSION },
        "paths": {},
    });
    body::json(StatusCode::OK, &document)
}

/// `openapi.v2.Document`: swagger (1), info (2) with title (1) and version (2), paths (8).
fn protobuf() -> Vec<u8> {
    let mut info = Vec::new();
    field(&mut info, 1, TITLE.as_bytes());
    field(&mut info, 2, VERSION.as_bytes());
    let mut document = Vec::new();
    field(&mut document, 1, b"2.0");
    field(&mut document, 2, &info);
    field(&mut document, 8, &[]);
    document
}

/// A length-delimited field; names and contents here are all shorter than 128 bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.extend([number << 3 | 2, u8::try_from(bytes.len()).unwrap_or(0)]);
    out.extend_from_slice(bytes);
}
