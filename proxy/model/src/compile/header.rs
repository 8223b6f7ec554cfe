//! Headers: matching and changing them.

use http::HeaderName;
use mesh_api::envoy::core::{HeaderValueOption, header_value_option::HeaderAppendAction};
use mesh_api::envoy::route::{
    HeaderMatcher as PbMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier,
};

use super::notes::{Flaw, Notes, Path};
use super::units;
use crate::access_log::format::Format;
use crate::http::header::{HeaderMatcher, HeaderValueMatch};
use crate::http::mutation::{AppendAction, HeaderAdd, HeaderMutations};
use crate::http::query::QueryMatcher;
use crate::matcher::StringMatcher;

/// Header matchers.
pub(super) fn matchers(
    values: &[PbMatcher],
    path: &Path<'_>,
    field: &str,
) -> Result<Vec<HeaderMatcher>, Flaw> {
    let one = |(index, value)| matcher(value, &path.item(field, index));
    values.iter().enumerate().map(one).collect()
}

fn matcher(value: &PbMatcher, path: &Path<'_>) -> Result<HeaderMatcher, Flaw> {
    use HeaderMatchSpecifier as S;
    if value.name.is_empty() {
        return Err(path.field("name").flaw("is empty"));
    }
    let text = |matcher: Result<StringMatcher, _>| {
        matcher
            .map(HeaderValueMatch::Text)
            .map_err(|error: crate::matcher::MatcherError| path.flaw(error))
    };
    let matching = match &value.header_match_specifier {
        None => HeaderValueMatch::Present(true),
        Some(S::PresentMatch(present)) => HeaderValueMatch::Present(*present),
        Some(S::RangeMatch(range)) => HeaderValueMatch::Range(range.start..range.end),
        Some(S::ExactMatch(exact)) => HeaderValueMatch::Text(StringMatcher::exact(exact)),
        Some(S::PrefixMatch(prefix)) => text(StringMatcher::prefix(prefix))?,
        Some(S::SuffixMatch(suffix)) => text(StringMatcher::suffix(suffix))?,
        Some(S::ContainsMatch(infix)) => text(StringMatcher::contains(infix))?,
        Some(S::SafeRegexMatch(regex)) => text(StringMatcher::regex(&regex.regex))?,
        Some(S::StringMatch(matcher)) => {
            HeaderValueMatch::Text(units::string_matcher(matcher, &path.field("string_match"))?)
        }
    };
    Ok(HeaderMatcher {
        name: value.name.to_ascii_lowercase().into(),
        value: matching,
        invert: value.invert_match,
        missing_as_empty: value.treat_missing_header_as_empty,
    })
}

/// Matchers of query parameters.
pub(super) fn query(
    values: &[QueryParameterMatcher],
    path: &Path<'_>,
) -> Result<Vec<QueryMatcher>, Flaw> {
    use QueryParameterMatchSpecifier as S;
    let one = |(index, value): (usize, &QueryParameterMatcher)| {
        let here = path.item("query_parameters", index);
        let matcher = match &value.query_parameter_match_specifier {
            Some(S::StringMatch(matcher)) => Some(units::string_matcher(matcher, &here)?),
            Some(S::PresentMatch(true)) | None => None,
            Some(S::PresentMatch(false)) => {
                return Err(here.field("present_match").flaw("must be true"));
            }
        };
        Ok(QueryMatcher { name: value.name.as_str().into(), value: matcher })
    };
    values.iter().enumerate().map(one).collect()
}

/// Changes to the headers of requests or responses.
pub(super) fn mutations(
    add: &[HeaderValueOption],
    remove: &[String],
    path: &Path<'_>,
    side: &str,
    notes: &mut Notes,
) -> Result<HeaderMutations, Flaw> {
    let add_field = format!("{side}_headers_to_add");
    let remove_field = format!("{side}_headers_to_remove");
    let mut mutations = HeaderMutations::default();
    for (index, value) in add.iter().enumerate() {
        let here = path.item(&add_field, index);
        if let Some(added) = addition(value, &here, notes)? {
            mutations.add.push(added);
        }
    }
    for (index, name) in remove.iter().enumerate() {
        let here = path.item(&remove_field, index);
        mutations.remove.push(header_name(name, &here)?);
    }
    Ok(mutations)
}

fn addition(
    value: &HeaderValueOption,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<HeaderAdd>, Flaw> {
    let header = value.header.as_ref().ok_or_else(|| path.field("header").flaw("is missing"))?;
    if header.key.starts_with(':') || header.key.eq_ignore_ascii_case("host") {
        notes.warn(path, format_args!("{:?} is changed by a rewrite only", header.key));
        return Ok(None);
    }
    let text = if header.value.is_empty() {
        String::from_utf8_lossy(&header.raw_value).into_owned()
    } else {
        header.value.clone()
    };
    let action = match value.append_action() {
        // The older field counts where the newer one is not set.
        HeaderAppendAction::AppendIfExistsOrAdd => match &value.append {
            Some(append) if !append.value => AppendAction::OverwriteOrAdd,
            _ => AppendAction::AppendOrAdd,
        },
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteOrAdd,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
    };
    Ok(Some(HeaderAdd {
        name: header_name(&header.key, path)?,
        value: Format::parse(&text).map_err(|error| path.field("header.value").flaw(error))?,
        action,
        keep_empty: value.keep_empty_value,
    }))
}

fn header_name(name: &str, path: &Path<'_>) -> Result<HeaderName, Flaw> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| path.flaw(format_args!("{name:?} is no header name")))
}
