//! `SecretName`: Istio's names for SDS resources.

use std::fmt;
use std::sync::Arc;

use super::{NameError, Namespace, ObjectName};
use crate::text::text_serde;

/// The name of an SDS resource: where a certificate, key or bundle of roots comes from.
///
/// ```
/// use mesh_api::name::SecretName;
///
/// let name: SecretName = "kubernetes://shop/web-tls-cacert".parse()?;
/// assert!(name.is_ca());
/// assert_eq!("default".parse::<SecretName>()?, SecretName::Workload);
/// assert!("kubernetes://a/b/c".parse::<SecretName>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretName {
    /// `default`: the workload's own certificate and key.
    Workload,
    /// `ROOTCA`: the mesh's roots.
    RootCa,
    /// `file-cert:<certificate>~<key>`: PEM files.
    FileCert {
        /// Path of the certificate chain.
        certificate: Arc<str>,
        /// Path of the private key.
        key: Arc<str>,
    },
    /// `file-root:<path>`: a PEM file of roots.
    FileRoot(Arc<str>),
    /// `file-root:system`: the operating system's roots.
    SystemRoots,
    /// `kubernetes://[<namespace>/]<name>[-cacert]`: a Secret, by default of the proxy's own
    /// namespace.
    Kubernetes {
        /// The Secret's namespace.
        namespace: Option<Namespace>,
        /// The Secret, with the `-cacert` suffix when the roots are meant.
        name: ObjectName,
    },
    /// `kubernetes-gateway://<namespace>/<name>`: a Secret referenced through the Gateway API.
    KubernetesGateway {
        /// The Secret's namespace.
        namespace: Namespace,
        /// The Secret, with the `-cacert` suffix when the roots are meant.
        name: ObjectName,
    },
    /// `configmap://<namespace>/<name>`: roots from a ConfigMap.
    ConfigMap {
        /// The ConfigMap's namespace.
        namespace: Namespace,
        /// The ConfigMap, with the `-cacert` suffix Istio appends.
        name: ObjectName,
    },
    /// `builtin://[<name>]`: the workload's own certificate, asked for by a gateway.
    BuiltIn(Arc<str>),
    /// `invalid://[<name>]`: a reference that cannot be resolved; never answered.
    Invalid(Arc<str>),
    /// `sds://<provider>`: an external SDS server.
    Provider(Arc<str>),
    /// A name the mesh did not give.
    Other(Arc<str>),
}

const MAX: usize = 4096;
const WHAT: &str = "secret name";
const CA_SUFFIX: &str = "-cacert";

impl SecretName {
    /// Parses an SDS resource name.
    ///
    /// # Errors
    /// When the text is empty, longer than 4096 bytes, or begins like one of Istio's forms and
    /// does not fit it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let misfit = |reason| NameError::new(WHAT, text, reason);
        if text.is_empty() {
            return Err(misfit("is empty"));
        }
        if text.len() > MAX {
            return Err(misfit("is longer than 4096 bytes"));
        }
        if let Some(rest) = text.strip_prefix("file-cert:") {
            let pair = rest.split_once('~').filter(|(c, k)| !c.is_empty() && !k.is_empty());
            let (certificate, key) =
                pair.ok_or_else(|| misfit("is not file-cert:<certificate>~<key>"))?;
            return Ok(Self::FileCert { certificate: certificate.into(), key: key.into() });
        }
        if let Some(path) = text.strip_prefix("file-root:") {
            return match path {
                "" => Err(misfit("names no file")),
                "system" => Ok(Self::SystemRoots),
                path => Ok(Self::FileRoot(path.into())),
            };
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(match text {
                "default" => Self::Workload,
                "ROOTCA" => Self::RootCa,
                _ => Self::Other(text.into()),
            });
        };
        let reference = |reason| namespaced(rest).ok_or_else(|| misfit(reason));
        Ok(match scheme {
            "kubernetes" if !rest.contains('/') => Self::Kubernetes {
                namespace: None,
                name: ObjectName::parse(rest)
                    .map_err(|_| misfit("is not kubernetes://[<namespace>/]<name>"))?,
            },
            "kubernetes" => {
                let (namespace, name) = reference("is not kubernetes://[<namespace>/]<name>")?;
                Self::Kubernetes { namespace: Some(namespace), name }
            }
            "kubernetes-gateway" => {
                let (namespace, name) =
                    reference("is not kubernetes-gateway://<namespace>/<name>")?;
                Self::KubernetesGateway { namespace, name }
            }
            "configmap" => {
                let (namespace, name) = reference("is not configmap://<namespace>/<name>")?;
                Self::ConfigMap { namespace, name }
            }
            "builtin" => Self::BuiltIn(rest.into()),
            "invalid" => Self::Invalid(rest.into()),
            "sds" if rest.is_empty() => return Err(misfit("names no SDS provider")),
            "sds" => Self::Provider(rest.into()),
            _ => Self::Other(text.into()),
        })
    }

    /// Whether roots are asked for rather than a certificate and key.
    pub fn is_ca(&self) -> bool {
        match self {
            Self::RootCa | Self::FileRoot(_) | Self::SystemRoots | Self::ConfigMap { .. } => true,
            Self::Kubernetes { name, .. } | Self::KubernetesGateway { name, .. } => {
                name.as_str().ends_with(CA_SUFFIX)
            }
            _ => false,
        }
    }

    /// The Kubernetes object without the `-cacert` suffix, which asks for that object's roots
    /// where no object of the full name exists.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Kubernetes { name, .. }
            | Self::KubernetesGateway { name, .. }
            | Self::ConfigMap { name, .. } => {
                Some(name.as_str().strip_suffix(CA_SUFFIX).unwrap_or(name.as_str()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload => f.write_str("default"),
            Self::RootCa => f.write_str("ROOTCA"),
            Self::FileCert { certificate, key } => write!(f, "file-cert:{certificate}~{key}"),
            Self::FileRoot(path) => write!(f, "file-root:{path}"),
            Self::SystemRoots => f.write_str("file-root:system"),
            Self::Kubernetes { namespace: None, name } => write!(f, "kubernetes://{name}"),
            Self::Kubernetes { namespace: Some(namespace), name } => {
                write!(f, "kubernetes://{namespace}/{name}")
            }
            Self::KubernetesGateway { namespace, name } => {
                write!(f, "kubernetes-gateway://{namespace}/{name}")
            }
            Self::ConfigMap { namespace, name } => write!(f, "configmap://{namespace}/{name}"),
            Self::BuiltIn(rest) => write!(f, "builtin://{rest}"),
            Self::Invalid(rest) => write!(f, "invalid://{rest}"),
            Self::Provider(provider) => write!(f, "sds://{provider}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

text_serde!(SecretName);

fn namespaced(text: &str) -> Option<(Namespace, ObjectName)> {
    let (namespace, name) = text.split_once('/')?;
    Some((Namespace::parse(namespace).ok()?, ObjectName::parse(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn istios_names_parse_and_print() {
        for (text, ca) in [
            ("default", false),
            ("ROOTCA", true),
            ("file-cert:/etc/certs/cert.pem~/etc/certs/key.pem", false),
            ("file-root:/etc/certs/ca.pem", true),
            ("file-root:system", true),
            ("kubernetes://web", false),
            ("kubernetes://web-cacert", true),
            ("kubernetes://shop/web", false),
            ("kubernetes-gateway://shop/web", false),
            ("kubernetes-gateway://shop/web-cacert", true),
            ("configmap://shop/roots-cacert", true),
            ("builtin://", false),
            ("invalid://shop/web", false),
            ("sds://vault", false),
            ("my-secret", false),
            ("https://elsewhere", false),
        ] {
            let name = SecretName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.is_ca(), ca, "{name:?}");
        }
        let name = SecretName::parse("kubernetes://shop/web-cacert").unwrap();
        assert_eq!(name.object(), Some("web"));
    }

    #[test]
    fn what_begins_like_a_form_must_fit_it() {
        for text in [
            "",
            "file-cert:a",
            "file-cert:~b",
            "file-root:",
            "kubernetes://",
            "kubernetes:///a",
            "kubernetes://a/",
            "kubernetes://A/b",
            "kubernetes-gateway://a",
            "configmap://a",
            "sds://",
        ] {
            assert!(SecretName::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_it_was_read(
            head in "(file-cert:|file-root:|kubernetes://|configmap://|builtin://|sds://)?",
            text in "[a-z0-9/~.:-]{0,20}",
        ) {
            let text = format!("{head}{text}");
            if let Ok(name) = SecretName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
