//! Small messages that many others hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mesh_api::envoy::core::{
    Address, CidrRange, DataSource as PbDataSource, Metadata, RuntimeFractionalPercent,
    TcpKeepalive as PbKeepalive, address, data_source, socket_address,
};
use mesh_api::envoy::matcher::{
    RegexMatcher, StringMatcher as PbStringMatcher, string_matcher::MatchPattern,
};
use mesh_api::envoy::protobuf::{self, Struct, value::Kind};
use mesh_api::envoy::types::{FractionalPercent, fractional_percent::DenominatorType};

use super::notes::{Flaw, Path};
use crate::endpoint::EndpointAddress;
use crate::http::filter::Percentage;
use crate::listener::TcpKeepalive;
use crate::matcher::StringMatcher;
use crate::tls::DataSource;

/// A text, or `None` if it is empty.
pub(super) fn non_empty(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// Texts as the model holds them.
pub(super) fn texts(values: &[String]) -> Vec<Arc<str>> {
    values.iter().map(|value| value.as_str().into()).collect()
}

/// Whether an optional boolean is true.
pub(super) fn is_true(value: Option<&protobuf::BoolValue>) -> bool {
    value.is_some_and(|value| value.value)
}

/// A duration, which must not be negative.
pub(super) fn duration(
    value: Option<&protobuf::Duration>,
    path: &Path<'_>,
    field: &str,
) -> Result<Option<Duration>, Flaw> {
    let Some(value) = value else { return Ok(None) };
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        _ => Err(path.field(field).flaw("is negative or out of range")),
    }
}

/// A limit: absent is the default, zero is no limit.
pub(super) fn limit(
    value: Option<&protobuf::Duration>,
    default: Option<Duration>,
    path: &Path<'_>,
    field: &str,
) -> Result<Option<Duration>, Flaw> {
    let value = duration(value, path, field)?;
    Ok(value.map_or(default, |value| (!value.is_zero()).then_some(value)))
}

/// A port.
pub(super) fn port(value: u32, path: &Path<'_>) -> Result<u16, Flaw> {
    u16::try_from(value).map_err(|_| path.flaw(format_args!("{value} is no port")))
}

/// An address of any kind but Envoy's internal one, which is `None`.
pub(super) fn address(
    value: Option<&Address>,
    path: &Path<'_>,
) -> Result<Option<EndpointAddress>, Flaw> {
    match value.and_then(|value| value.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => {
            let number = match socket.port_specifier {
                Some(socket_address::PortSpecifier::PortValue(number)) => number,
                Some(socket_address::PortSpecifier::NamedPort(_)) => {
                    return Err(path.flaw("a named port means nothing here"));
                }
                None => 0,
            };
            let port = port(number, &path.field("socket_address.port_value"))?;
            if socket.address.is_empty() {
                return Err(path.field("socket_address.address").flaw("is empty"));
            }
            Ok(Some(match socket.address.parse::<IpAddr>() {
                Ok(ip) => EndpointAddress::Socket(SocketAddr::new(ip, port)),
                Err(_) => EndpointAddress::Host { name: socket.address.as_str().into(), port },
            }))
        }
        Some(address::Address::Pipe(pipe)) => {
            Ok(Some(EndpointAddress::Pipe(PathBuf::from(&pipe.path))))
        }
        Some(address::Address::EnvoyInternalAddress(_)) => Ok(None),
        None => Err(path.flaw("is missing")),
    }
}

/// Address ranges.
pub(super) fn ranges(
    values: &[CidrRange],
    path: &Path<'_>,
    field: &str,
) -> Result<Vec<IpNet>, Flaw> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let here = path.item(field, index);
            let ip: IpAddr = value
                .address_prefix
                .parse()
                .map_err(|_| here.flaw(format_args!("{:?} is no address", value.address_prefix)))?;
            let length = value.prefix_len.map_or(0, |length| length.value);
            u8::try_from(length)
                .ok()
                .and_then(|length| IpNet::new(ip, length).ok())
                .map(|range| range.trunc())
                .ok_or_else(|| here.flaw(format_args!("{length} is no prefix length")))
        })
        .collect()
}

/// A share, whose runtime key does not count.
pub(super) fn runtime_percentage(value: &RuntimeFractionalPercent) -> Percentage {
    value.default_value.as_ref().map_or(Percentage::ALL, percentage)
}

/// A share.
pub(super) fn percentage(value: &FractionalPercent) -> Percentage {
    let denominator = match value.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    Percentage { numerator: value.numerator, denominator }
}

/// A string matcher.
pub(super) fn string_matcher(
    value: &PbStringMatcher,
    path: &Path<'_>,
) -> Result<StringMatcher, Flaw> {
    let matcher = match &value.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(StringMatcher::exact(text)),
        Some(MatchPattern::Prefix(text)) => StringMatcher::prefix(text),
        Some(MatchPattern::Suffix(text)) => StringMatcher::suffix(text),
        Some(MatchPattern::Contains(text)) => StringMatcher::contains(text),
        Some(MatchPattern::SafeRegex(regex)) => StringMatcher::regex(&regex.regex),
        Some(MatchPattern::Custom(_)) => return Err(path.flaw("a custom matcher is not known")),
        None => return Err(path.flaw("has no pattern")),
    };
    let matcher = matcher.map_err(|error| path.flaw(error))?;
    Ok(if value.ignore_case { matcher.ignoring_case() } else { matcher })
}

/// An expression that matches a whole text.
pub(super) fn full_regex(value: &RegexMatcher, path: &Path<'_>) -> Result<StringMatcher, Flaw> {
    StringMatcher::regex(&value.regex).map_err(|error| path.flaw(error))
}

/// An expression that is looked for in a text.
pub(super) fn regex(value: Option<&RegexMatcher>, path: &Path<'_>) -> Result<regex::Regex, Flaw> {
    let value = value.ok_or_else(|| path.field("pattern").flaw("is missing"))?;
    regex::RegexBuilder::new(&value.regex)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| path.field("pattern").flaw(error))
}

/// Keep-alive probes.
pub(super) fn keepalive(value: &PbKeepalive) -> TcpKeepalive {
    let seconds = |value: Option<&protobuf::UInt32Value>| {
        value.map(|value| Duration::from_secs(u64::from(value.value)))
    };
    TcpKeepalive {
        probes: value.keepalive_probes.as_ref().map(|value| value.value),
        time: seconds(value.keepalive_time.as_ref()),
        interval: seconds(value.keepalive_interval.as_ref()),
    }
}

/// Bytes in place or in a file; the environment is not read.
pub(super) fn data(value: &PbDataSource, path: &Path<'_>) -> Result<DataSource, Flaw> {
    match &value.specifier {
        Some(data_source::Specifier::InlineBytes(bytes)) => {
            Ok(DataSource::Inline(bytes.as_slice().into()))
        }
        Some(data_source::Specifier::InlineString(text)) => {
            Ok(DataSource::Inline(text.as_bytes().into()))
        }
        Some(data_source::Specifier::Filename(name)) => Ok(DataSource::File(name.into())),
        Some(data_source::Specifier::EnvironmentVariable(_)) => {
            Err(path.flaw("data does not come from the environment here"))
        }
        None => Err(path.flaw("has no data")),
    }
}

/// A text in place.
pub(super) fn inline_text(value: &PbDataSource, path: &Path<'_>) -> Result<String, Flaw> {
    match data(value, path)? {
        DataSource::Inline(bytes) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| path.flaw("is not UTF-8"))
        }
        DataSource::File(_) => Err(path.flaw("must be given in place")),
    }
}

/// One namespace of metadata.
pub(super) fn namespace<'a>(metadata: Option<&'a Metadata>, name: &str) -> Option<&'a Struct> {
    metadata?.filter_metadata.get(name)
}

/// A text in a struct.
pub(super) fn text_in<'a>(object: Option<&'a Struct>, key: &str) -> Option<&'a str> {
    match object?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A boolean in a struct, also as text, as Istio writes some.
pub(super) fn bool_in(object: Option<&Struct>, key: &str) -> Option<bool> {
    match object?.fields.get(key)?.kind.as_ref()? {
        Kind::BoolValue(value) => Some(*value),
        Kind::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

/// `istio.config` of metadata: the object something was made from.
pub(super) fn istio_config(metadata: Option<&Metadata>) -> Option<Arc<str>> {
    text_in(namespace(metadata, "istio"), "config").map(Arc::from)
}

/// The texts, numbers and booleans of a struct as texts, for matching.
pub(super) fn flat(object: Option<&Struct>) -> BTreeMap<Arc<str>, Arc<str>> {
    let fields = object.into_iter().flat_map(|object| &object.fields);
    fields
        .filter_map(|(key, value)| {
            let text = match value.kind.as_ref()? {
                Kind::StringValue(text) => text.clone(),
                Kind::NumberValue(number) => number.to_string(),
                Kind::BoolValue(value) => value.to_string(),
                _ => return None,
            };
            Some((key.as_str().into(), text.into()))
        })
        .collect()
}
