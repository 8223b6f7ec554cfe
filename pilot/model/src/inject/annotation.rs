//! Annotations that steer injection: each is checked before anything is read from it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use mesh_api::annotations as keys;
use serde_json::{Map, Value};

use super::error::InjectError;

/// Annotations of a pod, all of which have values they can have.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations(BTreeMap<String, String>);

/// What an annotation may be: `Err` says it, with the remedy.
type Check = fn(&str) -> Result<(), String>;

/// The annotations with a grammar. Others are free texts.
const CHECKS: [(&str, Check); 27] = [
    (keys::SIDECAR_INTERCEPTION_MODE, mode),
    (keys::SIDECAR_STATUS_PORT, status_port),
    (keys::INCLUDE_OUTBOUND_IP_RANGES, blocks_or_all),
    (keys::EXCLUDE_OUTBOUND_IP_RANGES, blocks),
    (keys::INCLUDE_INBOUND_PORTS, ports_or_all),
    (keys::EXCLUDE_INBOUND_PORTS, ports),
    (keys::INCLUDE_OUTBOUND_PORTS, ports),
    (keys::EXCLUDE_OUTBOUND_PORTS, ports),
    (keys::EXCLUDE_INTERFACES, interfaces),
    (keys::KUBEVIRT_INTERFACES, interfaces),
    (keys::REROUTE_VIRTUAL_INTERFACES, interfaces),
    (keys::READINESS_INITIAL_DELAY_SECONDS, unsigned),
    (keys::READINESS_PERIOD_SECONDS, unsigned),
    (keys::READINESS_FAILURE_THRESHOLD, unsigned),
    (keys::PROMETHEUS_MERGE_METRICS, flag),
    (keys::SIDECAR_REWRITE_APP_HTTP_PROBERS, flag),
    (keys::SIDECAR_NATIVE_SIDECAR, flag),
    (keys::SIDECAR_CAP_NET_BIND_SERVICE, flag),
    (keys::SIDECAR_PROXY_CPU, quantity),
    (keys::SIDECAR_PROXY_CPU_LIMIT, quantity),
    (keys::SIDECAR_PROXY_MEMORY, quantity),
    (keys::SIDECAR_PROXY_MEMORY_LIMIT, quantity),
    (keys::SIDECAR_PROXY_IMAGE, word),
    (keys::SIDECAR_PROXY_IMAGE_TYPE, word),
    (keys::SIDECAR_LOG_LEVEL, word),
    (keys::SIDECAR_USER_VOLUME, object),
    (keys::SIDECAR_USER_VOLUME_MOUNT, object),
];

impl Annotations {
    /// Checks the annotations of the pod called `pod`.
    pub(super) fn check(pod: &str, all: BTreeMap<String, String>) -> Result<Self, InjectError> {
        for (key, check) in CHECKS {
            let Some(value) = all.get(key) else { continue };
            check(value).map_err(|expected| refuse(pod, key, value, expected))?;
        }
        Ok(Self(all))
    }

    /// The value; `None` when it is absent or empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value, even an empty one.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A flag; absent is `None`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(is_true)
    }

    /// A number; absent is `None`.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).and_then(|value| value.parse().ok())
    }

    /// A JSON object by name; absent is empty.
    pub(super) fn object(&self, key: &str) -> Map<String, Value> {
        self.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The error about an annotation.
pub(super) fn refuse(
    pod: &str,
    annotation: &str,
    value: &str,
    expected: impl Into<String>,
) -> InjectError {
    InjectError::Annotation {
        pod: pod.to_owned(),
        annotation: annotation.to_owned(),
        value: value.to_owned(),
        expected: expected.into(),
    }
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "t" | "1" | "yes" | "y" | "on")
}

fn flag(text: &str) -> Result<(), String> {
    let known = ["true", "false", "t", "f", "1", "0", "yes", "no", "y", "n", "on", "off", ""];
    let lower = text.trim().to_ascii_lowercase();
    if known.contains(&lower.as_str()) { Ok(()) } else { Err("use true or false".to_owned()) }
}

fn mode(text: &str) -> Result<(), String> {
    match text {
        "REDIRECT" | "TPROXY" | "NONE" | "" => Ok(()),
        _ => Err("use REDIRECT, TPROXY or NONE".to_owned()),
    }
}

fn unsigned(text: &str) -> Result<(), String> {
    text.trim().parse::<u32>().map(drop).map_err(|_| "use a whole number of 0 or more".to_owned())
}

fn status_port(text: &str) -> Result<(), String> {
    text.trim()
        .parse::<u16>()
        .map(drop)
        .map_err(|_| "use a port, 1 to 65535, or 0 for no probes".to_owned())
}

/// The items of a list with commas.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn ports(text: &str) -> Result<(), String> {
    match items(text).find(|item| !item.parse::<u16>().is_ok_and(|port| port > 0)) {
        None => Ok(()),
        Some(item) => {
            Err(format!("{item:?} is no port: use numbers from 1 to 65535 with commas between"))
        }
    }
}

fn ports_or_all(text: &str) -> Result<(), String> {
    if text.trim() == "*" { Ok(()) } else { ports(text).map_err(|why| why + ", or * for all") }
}

fn blocks(text: &str) -> Result<(), String> {
    match items(text).find(|item| item.parse::<IpNet>().is_err()) {
        None => Ok(()),
        Some(item) => Err(format!(
            "{item:?} is no address block: use blocks such as 10.0.0.0/8 with commas between"
        )),
    }
}

fn blocks_or_all(text: &str) -> Result<(), String> {
    if text.trim() == "*" { Ok(()) } else { blocks(text).map_err(|why| why + ", or * for all") }
}

/// Linux's rules for the name of an interface.
fn interfaces(text: &str) -> Result<(), String> {
    let valid = |name: &str| {
        name.len() <= 15
            && !matches!(name, "." | "..")
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match items(text).find(|item| !valid(item)) {
        None => Ok(()),
        Some(item) => Err(format!(
            "{item:?} is no name of a network interface: use at most 15 letters, digits, dots, \
             dashes and underscores, with commas between names"
        )),
    }
}

fn word(text: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if text.len() <= 512 && !text.trim().contains(bad) {
        return Ok(());
    }
    Err("use one word without spaces, at most 512 bytes".to_owned())
}

fn object(text: &str) -> Result<(), String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(all)) if all.values().all(Value::is_object) => Ok(()),
        Ok(_) => Err("use a JSON object of objects by volume name".to_owned()),
        Err(error) => Err(format!("not JSON ({error}); use an object of objects by volume name")),
    }
}

/// A quantity as Kubernetes writes it: `100m`, `128Mi`, `1e3`.
fn quantity(text: &str) -> Result<(), String> {
    let wrong = || "use a quantity such as 100m, 2 or 128Mi".to_owned();
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.chars().filter(char::is_ascii_digit).count();
    let known =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        (1..=2).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit())
    });
    let points = number.matches('.').count();
    if (1..=18).contains(&digits) && points <= 1 && (known.contains(&suffix) || exponent) {
        return Ok(());
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        let good = [
            (keys::SIDECAR_INTERCEPTION_MODE, "TPROXY"),
            (keys::SIDECAR_STATUS_PORT, "0"),
            (keys::INCLUDE_OUTBOUND_IP_RANGES, "*"),
            (keys::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.0/8, fd00::/8"),
            (keys::EXCLUDE_OUTBOUND_IP_RANGES, ""),
            (keys::INCLUDE_INBOUND_PORTS, "*"),
            (keys::INCLUDE_INBOUND_PORTS, ""),
            (keys::EXCLUDE_INBOUND_PORTS, "80, 443,"),
            (keys::EXCLUDE_INTERFACES, "eth1,net-1.2"),
            (keys::READINESS_PERIOD_SECONDS, "3"),
            (keys::PROMETHEUS_MERGE_METRICS, "False"),
            (keys::SIDECAR_PROXY_CPU, "100m"),
            (keys::SIDECAR_PROXY_CPU, "1.5"),
            (keys::SIDECAR_PROXY_MEMORY, "1e3"),
            (keys::SIDECAR_PROXY_MEMORY_LIMIT, "128Mi"),
            (keys::SIDECAR_USER_VOLUME, r#"{"a": {"emptyDir": {}}}"#),
        ];
        for (key, value) in good {
            let all = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert!(Annotations::check("a/b", all).is_ok(), "{key}={value}");
        }
        let bad = [
            (keys::SIDECAR_INTERCEPTION_MODE, "redirect", "use REDIRECT, TPROXY or NONE"),
            (keys::SIDECAR_STATUS_PORT, "65536", "use a port"),
            (keys::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.1", "\"10.0.0.1\" is no address block"),
            (keys::EXCLUDE_OUTBOUND_IP_RANGES, "*", "\"*\" is no address block"),
            (keys::INCLUDE_INBOUND_PORTS, "80,x", "or * for all"),
            (keys::EXCLUDE_INBOUND_PORTS, "0", "\"0\" is no port"),
            (keys::EXCLUDE_OUTBOUND_PORTS, "*", "\"*\" is no port"),
            (keys::EXCLUDE_INTERFACES, "eth0; reboot", "is no name of a network interface"),
            (keys::READINESS_PERIOD_SECONDS, "-1", "use a whole number"),
            (keys::SIDECAR_NATIVE_SIDECAR, "maybe", "use true or false"),
            (keys::SIDECAR_PROXY_CPU, "fast", "use a quantity"),
            (keys::SIDECAR_PROXY_CPU, "", "use a quantity"),
            (keys::SIDECAR_PROXY_MEMORY, "1.2.3Mi", "use a quantity"),
            (keys::SIDECAR_PROXY_IMAGE, "a b", "use one word"),
            (keys::SIDECAR_USER_VOLUME, "[]", "use a JSON object"),
            (keys::SIDECAR_USER_VOLUME_MOUNT, "{", "not JSON"),
        ];
        for (key, value, expected) in bad {
            let all = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let message = Annotations::check("a/b", all).unwrap_err().to_string();
            assert!(message.starts_with("pod a/b: annotation "), "{message}");
            assert!(message.contains(key) && message.contains(expected), "{message}");
        }
    }
}
