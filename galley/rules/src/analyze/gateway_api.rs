//! Definitions of Kubernetes' Gateway API that are older than what the control plane reads.

use super::messages::GATEWAY_API_TOO_OLD;
use super::world::World;
use crate::report::Report;

const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";

/// Definitions, and the bundle that first had them as they are needed.
const MINIMUM: [(&str, Version); 3] = [
    ("backendtlspolicies.gateway.networking.k8s.io", [1, 4, 0]),
    ("grpcroutes.gateway.networking.k8s.io", [1, 1, 0]),
    ("tlsroutes.gateway.networking.k8s.io", [1, 5, 0]),
];

type Version = [u32; 3];

/// Definitions of bundles that are too old: their objects are not read at all.
pub(super) fn versions(world: &World, report: &mut Report) {
    for object in world.of("apiextensions.k8s.io", "CustomResourceDefinition") {
        let minimum = MINIMUM.iter().find(|(name, _)| *name == object.origin.name);
        let annotations = object.annotations();
        let (Some((name, minimum)), Some(text)) = (minimum, annotations.get(BUNDLE)) else {
            continue;
        };
        if read(text).is_some_and(|installed| installed < *minimum) {
            let [major, minor, patch] = minimum;
            let text = format!(
                "The Gateway API's definition {name} is of version {text}, below the minimum \
                 {major}.{minor}.{patch}. Objects of it are ignored."
            );
            report.add(GATEWAY_API_TOO_OLD.about(&object.origin, text));
        }
    }
}

/// A semantic version such as `v1.2.0-rc1`; what follows the numbers does not count.
fn read(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut version = [0; 3];
    let mut parts = numbers.split('.');
    for (place, part) in version.iter_mut().zip(parts.by_ref()) {
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn versions_are_read_without_what_follows() {
        for (text, version) in [
            ("v1.2.3", Some([1, 2, 3])),
            ("1.4", Some([1, 4, 0])),
            ("v1.5.0-rc.1", Some([1, 5, 0])),
            ("1.0.0.1", None),
            ("main", None),
            ("", None),
        ] {
            assert_eq!(read(text), version, "{text}");
        }
    }
}
