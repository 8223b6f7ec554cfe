//! Functions between values and their texts: YAML, JSON, base 64 and digests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::Value;
use serde_json::Value as Json;

use super::{Table, exactly, refuse, text_of};
use crate::render::convert::{from_json, list, map, text, to_json};
use crate::render::yaml;

pub(super) const TABLE: Table = &[
    ("toYaml", |args| {
        exactly::<1>(args).map(|[value]| text(yaml::write(&to_json(value)).trim_end_matches('\n')))
    }),
    ("toJson", |args| exactly::<1>(args).map(|[value]| text(escaped(&to_json(value).to_string())))),
    ("toRawJson", |args| exactly::<1>(args).map(|[value]| text(to_json(value).to_string()))),
    ("toPrettyJson", |args| {
        let [value] = exactly(args)?;
        let json = serde_json::to_string_pretty(&to_json(value));
        json.map_or_else(|error| refuse(error.to_string()), |json| Ok(text(escaped(&json))))
    }),
    ("fromYaml", |args| parse(args, yaml_value, Json::is_object)),
    ("fromJson", |args| parse(args, json_value, Json::is_object)),
    ("fromYamlArray", |args| parse(args, yaml_value, Json::is_array)),
    ("fromJsonArray", |args| parse(args, json_value, Json::is_array)),
    ("b64enc", |args| {
        let [value] = exactly(args)?;
        Ok(text(STANDARD.encode(text_of(value)?)))
    }),
    ("b64dec", |args| {
        let [value] = exactly(args)?;
        let bytes = STANDARD.decode(text_of(value)?).or_else(|error| refuse(error.to_string()))?;
        String::from_utf8(bytes).map_or_else(|_| refuse("not UTF-8"), |decoded| Ok(text(decoded)))
    }),
];

/// Go's JSON escapes what could end a script in HTML.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn yaml_value(from: &str) -> Result<Json, String> {
    yaml::read(from).map_err(|error| error.to_string())
}

fn json_value(from: &str) -> Result<Json, String> {
    serde_json::from_str(from).map_err(|error| error.to_string())
}

/// What cannot be parsed becomes `{Error: …}`, or `[…]` for lists, as Helm does.
fn parse(
    args: &[Value],
    read: fn(&str) -> Result<Json, String>,
    fits: fn(&Json) -> bool,
) -> gotmpl::Result<Value> {
    let [from] = exactly(args)?;
    let wants_list = fits(&Json::Array(Vec::new()));
    let complaint = match read(text_of(from)?) {
        Ok(value) if fits(&value) => return Ok(from_json(&value)),
        Ok(Json::Null) => return Ok(if wants_list { list([]) } else { map::<&str>([]) }),
        Ok(_) => "the document has another type".to_owned(),
        Err(error) => error,
    };
    Ok(if wants_list { list([text(complaint)]) } else { map([("Error", text(complaint))]) })
}
