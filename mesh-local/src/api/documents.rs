//! Everything that is not a resource: discovery, OpenAPI, health, version, token keys.

use http::{HeaderMap, Response, StatusCode, header};
use serde_json::json;

use super::body::{self, ResponseBody};
use super::discovery;
use super::error::{ApiError, Result};
use super::openapi_v2;
use super::query::Query;
use super::server::Server;
use super::token::TokenSigner;

const CHECKS: [&str; 3] = ["ping", "log", "store"];

/// Answers a GET of a path that names no resource.
pub(crate) fn serve(
    server: &Server,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<ResponseBody>> {
    let rows = server.registry.rows();
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let aggregated = discovery::wants_aggregated(accept);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        [""] => discovery::paths(&rows),
        ["api"] if aggregated => return Ok(discovery::aggregated(&rows, true)),
        ["apis"] if aggregated => return Ok(discovery::aggregated(&rows, false)),
        ["api"] => discovery::core_versions(),
        ["apis"] => discovery::group_list(&rows),
        ["api", version] => discovery::resource_list(&rows, "", version)?,
        ["apis", group] => discovery::group(&rows, group)?,
        ["apis", group, version] => discovery::resource_list(&rows, group, version)?,
        ["version"] => version(),
        ["healthz" | "livez" | "readyz", rest @ ..] => return health(parts[0], rest, query),
        ["openapi", "v2"] => return Ok(openapi_v2::serve(accept)),
        ["openapi", "v3", rest @ ..] => return server.documents.serve(&rows, rest, query, headers),
        ["openid", "v1", "jwks"] => {
            let keys = server.signer.key_set().to_string();
            return Ok(body::bytes(StatusCode::OK, "application/jwk-set+json", keys));
        }
        [".well-known", "openid-configuration"] => TokenSigner::discovery(),
        _ => return Err(ApiError::no_such_path()),
    };
    Ok(body::json(StatusCode::OK, &document))
}

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": "v1.33.0+lateen",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch(std::env::consts::ARCH)),
    })
}

/// Machine names as Go spells them.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn health(name: &str, check: &[&str], query: &Query) -> Result<Response<ResponseBody>> {
    match check {
        [] => {}
        [one] if CHECKS.contains(one) => return Ok(body::bytes(StatusCode::OK, body::TEXT, "ok")),
        _ => return Err(ApiError::no_such_path()),
    }
    if !query.flag("verbose")? {
        return Ok(body::bytes(StatusCode::OK, body::TEXT, "ok"));
    }
    let mut text: String = CHECKS.iter().map(|check| format!("[+]{check} ok\n")).collect();
    text.push_str(&format!("{name} check passed\n"));
    Ok(body::bytes(StatusCode::OK, body::TEXT, text))
}
