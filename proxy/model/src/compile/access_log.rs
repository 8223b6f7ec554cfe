//! Access logs.

use mesh_api::any::{holds, message_name};
use mesh_api::envoy::access_log::{file, stream};
use mesh_api::envoy::accesslog::{
    AccessLog as PbLog, AccessLogFilter, ComparisonFilter, access_log,
    access_log_filter::FilterSpecifier, comparison_filter::Op,
};
use mesh_api::envoy::core::{SubstitutionFormatString, substitution_format_string};
use mesh_api::struct_json;

use super::notes::{Flaw, Notes, Path, unpack};
use super::units;
use crate::access_log::format::{Format, FormatError, ISTIO_TEXT};
use crate::access_log::{AccessLog, Comparison, LogFilter, Sink};
use crate::flags::ResponseFlags;

/// Access logs. Those to services elsewhere are left out with a warning.
pub(super) fn logs(
    values: &[PbLog],
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<AccessLog>, Flaw> {
    let mut logs = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let here = path.item("access_log", index);
        let filter = match &value.filter {
            Some(filter) => self::filter(filter, &here.field("filter"), notes, 0)?,
            None => LogFilter::All,
        };
        if let Some((sink, format)) = target(value, &here.field("typed_config"), notes)? {
            logs.push(AccessLog { sink, format, filter });
        }
    }
    Ok(logs)
}

fn target(
    value: &PbLog,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<(Sink, Format)>, Flaw> {
    let Some(access_log::ConfigType::TypedConfig(config)) = &value.config_type else {
        return Err(path.flaw("is missing"));
    };
    if holds::<file::FileAccessLog>(config) {
        let log: file::FileAccessLog = unpack(config, path)?;
        let sink = match log.path.as_str() {
            "" => return Err(path.field("path").flaw("is empty")),
            "/dev/stdout" => Sink::Stdout,
            "/dev/stderr" => Sink::Stderr,
            name => Sink::File(name.into()),
        };
        return Ok(Some((sink, file_format(&log, path)?)));
    }
    if holds::<stream::StdoutAccessLog>(config) {
        let log: stream::StdoutAccessLog = unpack(config, path)?;
        let format = log
            .access_log_format
            .as_ref()
            .map(|stream::stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        return Ok(Some((Sink::Stdout, substitution(format, path)?)));
    }
    if holds::<stream::StderrAccessLog>(config) {
        let log: stream::StderrAccessLog = unpack(config, path)?;
        let format = log
            .access_log_format
            .as_ref()
            .map(|stream::stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        return Ok(Some((Sink::Stderr, substitution(format, path)?)));
    }
    let name = message_name(&config.type_url);
    notes.warn(path, format_args!("logs are not sent to {name}"));
    Ok(None)
}

fn file_format(log: &file::FileAccessLog, path: &Path<'_>) -> Result<Format, Flaw> {
    use file::file_access_log::AccessLogFormat as F;
    let wrong = |field: &'static str| move |error: FormatError| path.field(field).flaw(error);
    match &log.access_log_format {
        Some(F::LogFormat(format)) => substitution(Some(format), path),
        Some(F::Format(text)) if text.is_empty() => substitution(None, path),
        Some(F::Format(text)) => Format::parse(text).map_err(wrong("format")),
        Some(F::JsonFormat(object)) | Some(F::TypedJsonFormat(object)) => {
            Format::json(&struct_json::from_struct(object).into()).map_err(wrong("json_format"))
        }
        None => substitution(None, path),
    }
}

fn substitution(value: Option<&SubstitutionFormatString>, path: &Path<'_>) -> Result<Format, Flaw> {
    use substitution_format_string::Format as F;
    let here = path.field("log_format");
    let wrong = |error: FormatError| here.flaw(error);
    let Some(value) = value else { return Format::parse(ISTIO_TEXT).map_err(wrong) };
    let format = match &value.format {
        Some(F::TextFormat(text)) => Format::parse(text),
        Some(F::TextFormatSource(source)) => {
            Format::parse(&units::inline_text(source, &here.field("text_format_source"))?)
        }
        Some(F::JsonFormat(object)) => Format::json(&struct_json::from_struct(object).into()),
        None => Format::parse(ISTIO_TEXT),
    };
    let format = format.map_err(wrong)?;
    Ok(if value.omit_empty_values { format.omitting_empty() } else { format })
}

/// Filters in one another at most.
const MAX_DEPTH: usize = 16;

fn filter(
    value: &AccessLogFilter,
    path: &Path<'_>,
    notes: &mut Notes,
    depth: usize,
) -> Result<LogFilter, Flaw> {
    use FilterSpecifier as S;
    if depth > MAX_DEPTH {
        return Err(path.flaw("has too many levels"));
    }
    let mut all = |filters: &[AccessLogFilter], field: &'static str| {
        let one = |(index, inner)| filter(inner, &path.item(field, index), notes, depth + 1);
        filters.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
    };
    Ok(match &value.filter_specifier {
        Some(S::ResponseFlagFilter(flags)) => {
            let mut set = ResponseFlags::NONE;
            for name in &flags.flags {
                set.insert(
                    ResponseFlags::from_short(name)
                        .ok_or_else(|| path.flaw(format_args!("{name:?} is no response flag")))?,
                );
            }
            LogFilter::Flags(set)
        }
        Some(S::StatusCodeFilter(status)) => {
            LogFilter::Status(comparison(status.comparison.as_ref(), path)?)
        }
        Some(S::DurationFilter(duration)) => {
            LogFilter::Duration(comparison(duration.comparison.as_ref(), path)?)
        }
        Some(S::AndFilter(and)) => LogFilter::And(all(&and.filters, "and_filter.filters")?),
        Some(S::OrFilter(or)) => LogFilter::Or(all(&or.filters, "or_filter.filters")?),
        _ => {
            notes.warn(path, "the filter is not known; every line is written");
            LogFilter::All
        }
    })
}

fn comparison(value: Option<&ComparisonFilter>, path: &Path<'_>) -> Result<Comparison, Flaw> {
    let value = value.ok_or_else(|| path.field("comparison").flaw("is missing"))?;
    let number = value.value.as_ref().map_or(0, |value| u64::from(value.default_value));
    Ok(match value.op() {
        Op::Eq => Comparison::Equal(number),
        Op::Ne => Comparison::NotEqual(number),
        Op::Ge => Comparison::AtLeast(number),
        Op::Le => Comparison::AtMost(number),
    })
}
