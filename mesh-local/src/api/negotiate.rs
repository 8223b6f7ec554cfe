//! What the client accepts, and what it sent.

use local_model::refusal::{Reason, Refusal};

/// The form in which objects are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    #[default]
    Object,
    /// As a `meta.k8s.io/v1` Table.
    Table,
    /// Their metadata alone.
    Metadata,
}

/// The encoding of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    Yaml,
}

/// One element of an `Accept` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaRange<'a> {
    pub(crate) essence: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaRange<'a> {
    /// Reads every element of an `Accept` header, in the client's order.
    pub(crate) fn parse_all(accept: &'a str) -> Vec<Self> {
        accept
            .split(',')
            .map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let essence = parts.next().unwrap_or_default();
                let parameters = parts.filter_map(|part| part.split_once('=')).collect();
                Self { essence, parameters }
            })
            .filter(|range: &Self| !range.essence.is_empty())
            .collect()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// Picks form and encoding from an `Accept` header; empty means JSON.
pub(crate) fn accept(header: &str) -> Result<(Form, Encoding), Refusal> {
    let ranges = MediaRange::parse_all(header);
    if ranges.is_empty() {
        return Ok(Default::default());
    }
    for range in &ranges {
        let encoding = match range.essence {
            "application/json" | "application/*" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => continue,
        };
        let form = match (range.parameter("as"), range.parameter("g"), range.parameter("v")) {
            (None, _, _) => Form::Object,
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table,
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("meta.k8s.io"),
                Some("v1"),
            ) => Form::Metadata,
            _ => continue,
        };
        return Ok((form, encoding));
    }
    Err(Refusal::new(
        Reason::NotAcceptable,
        "only the following media types are accepted: application/json, application/yaml, \
         and as Table, PartialObjectMetadata or PartialObjectMetadataList of meta.k8s.io/v1",
    ))
}

/// How a request body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Yaml,
    Protobuf,
}

/// Reads the `Content-Type` of a body that holds an object.
pub(crate) fn content(header: &str) -> Result<Content, Refusal> {
    let essence = header.split(';').next().unwrap_or_default().trim();
    match essence {
        "" | "application/json" => Ok(Content::Json),
        "application/yaml" | "application/x-yaml" => Ok(Content::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Content::Protobuf),
        _ => Err(Refusal::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Encoding, Form, accept, content};

    #[test]
    fn accepts() {
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                             application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (header, expected) in [
            ("", Some((Form::Object, Encoding::Json))),
            ("*/*", Some((Form::Object, Encoding::Json))),
            ("application/json, */*", Some((Form::Object, Encoding::Json))),
            (TABLE, Some((Form::Table, Encoding::Json))),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some((Form::Metadata, Encoding::Json)),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some((Form::Object, Encoding::Json)),
            ),
            ("application/yaml", Some((Form::Object, Encoding::Yaml))),
            ("text/html", None),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
        ] {
            assert_eq!(accept(header).ok(), expected, "{header}");
        }
    }

    #[test]
    fn contents() {
        assert_eq!(content("application/json; charset=utf-8").ok(), Some(Content::Json));
        assert_eq!(content("application/vnd.kubernetes.protobuf").ok(), Some(Content::Protobuf));
        assert_eq!(content("text/plain").map_err(|e| e.code()), Err(415));
    }
}
