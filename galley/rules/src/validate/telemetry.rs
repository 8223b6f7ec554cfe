//! Telemetry: providers, sampling, tags and metric overrides.

use mesh_api::crd::telemetry::{
    CustomTag, Metrics, MetricsOverride, ProviderRef, TagOperation, Tracing,
};
use mesh_api::crd::{Object, TelemetrySpec};

use super::Validate;
use super::check::At;
use super::common::{Target, target};

impl Validate for TelemetrySpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let attached = Target {
            selector: spec.selector.as_ref().map(|selector| &selector.match_labels),
            one: spec.target_ref.as_ref(),
            many: &spec.target_refs,
        };
        target(&attached, at);
        at.field("tracing").warn_if(
            spec.tracing.len() > 1,
            "multiple tracing is not currently supported: only the first is used",
        );
        for (index, entry) in spec.tracing.iter().enumerate() {
            tracing(entry, &mut at.field("tracing").index(index));
        }
        for (index, entry) in spec.metrics.iter().enumerate() {
            metrics(entry, &mut at.field("metrics").index(index));
        }
        for (index, entry) in spec.access_logging.iter().enumerate() {
            let mut at = at.field("accessLogging");
            let mut at = at.index(index);
            providers(&entry.providers, &mut at);
            let filter = entry.filter.as_ref().and_then(|filter| filter.expression.as_deref());
            if let Some(expression) = filter {
                at.field("filter").field("expression").require(balanced(expression));
            }
        }
    }
}

fn providers(providers: &[ProviderRef], at: &mut At<'_>) {
    for (index, provider) in providers.iter().enumerate() {
        let mut at = at.field("providers");
        at.index(index)
            .field("name")
            .error_if(provider.name.is_empty(), "providers.name must not be empty");
    }
}

fn tracing(entry: &Tracing, at: &mut At<'_>) {
    providers(&entry.providers, at);
    at.field("providers").warn_if(
        entry.providers.len() > 1,
        "multiple providers is not currently supported: only the first is used",
    );
    if let Some(share) = entry.random_sampling_percentage {
        at.field("randomSamplingPercentage").error_if(
            !(0.0..=100.0).contains(&share),
            "randomSamplingPercentage must be in range [0.0, 100.0]",
        );
    }
    for (name, tag) in &entry.custom_tags {
        let mut at = at.field("customTags");
        let mut at = at.key(name);
        at.error_if(name.is_empty(), "tag name must not be empty");
        custom_tag(tag, &mut at);
    }
}

fn custom_tag(tag: &CustomTag, at: &mut At<'_>) {
    let values = [
        ("literal", "value", tag.literal.as_ref().map(|part| &part.value)),
        ("environment", "name", tag.environment.as_ref().map(|part| &part.name)),
        ("header", "name", tag.header.as_ref().map(|part| &part.name)),
        ("formatter", "value", tag.formatter.as_ref().map(|part| &part.value)),
    ];
    at.error_if(
        values.iter().all(|(_, _, value)| value.is_none()),
        "one of literal, environment, header and formatter must be set",
    );
    for (kind, field, value) in values {
        let empty = value.is_some_and(String::is_empty);
        at.field(kind).field(field).error_if(empty, "must not be empty");
    }
}

fn metrics(entry: &Metrics, at: &mut At<'_>) {
    providers(&entry.providers, at);
    for (index, change) in entry.overrides.iter().enumerate() {
        metric(change, &mut at.field("overrides").index(index));
    }
}

fn metric(change: &MetricsOverride, at: &mut At<'_>) {
    let custom = change.match_.as_ref().and_then(|select| select.custom_metric.as_deref());
    at.field("match").field("customMetric").error_if(custom == Some(""), "must not be empty");
    for (name, tag) in &change.tag_overrides {
        let mut at = at.field("tagOverrides");
        let mut at = at.key(name);
        let value = tag.value.as_deref().unwrap_or_default();
        match tag.operation {
            None | Some(TagOperation::Upsert) => {
                at.error_if(value.is_empty(), "tag value must be set when operation is UPSERT");
            }
            Some(TagOperation::Remove) => {
                at.error_if(
                    !value.is_empty(),
                    "tag value must not be set when operation is REMOVE",
                );
            }
        }
    }
}

/// Whether brackets and quotes of a CEL expression are closed in order.
fn balanced(expression: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for c in expression.chars() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') if open.pop() != Some(c) => {
                return Err(format!("the CEL expression has a {c:?} that closes nothing"));
            }
            (None, _) => {}
        }
    }
    match (quote, open.last()) {
        (Some(_), _) => Err("the CEL expression has a text that does not end".to_owned()),
        (None, Some(close)) => Err(format!("the CEL expression lacks a {close:?}")),
        (None, None) if expression.trim().is_empty() => {
            Err("the CEL expression is empty".to_owned())
        }
        (None, None) => Ok(()),
    }
}
