//! Who calls, and whether that is the proxy it says it is.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::PostParams;
use mesh_api::trust_domain::TrustDomains;
use mesh_rt::grpc::PeerInfo;
use mesh_rt::identity::spiffe_id;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tracing::{info, warn};

use super::source::ProxyNode;

/// The audience of tokens for the control plane.
pub const AUDIENCE: &str = "istio-ca";

/// How long a review may take.
const REVIEW: Duration = Duration::from_secs(10);

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// A workload, as proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
}

/// Asks for and checks identities.
#[derive(Clone)]
pub struct Authenticator {
    /// Reviews tokens; without one, only certificates count.
    pub tokens: Option<kube::Client>,
    /// The domains whose certificates are the mesh's.
    pub trust_domains: TrustDomains,
    /// Whether the identity must be that of the node (`PILOT_ENABLE_XDS_IDENTITY_CHECK`).
    pub check_node: bool,
}

impl Authenticator {
    /// The caller of a request; `None` on a connection without TLS, where nobody can prove
    /// anything.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a certificate of the mesh or a valid token; `UNAVAILABLE` when
    /// the token cannot be reviewed now.
    pub async fn caller(
        &self,
        peer: Option<&PeerInfo>,
        metadata: &MetadataMap,
    ) -> Result<Option<Caller>, Status> {
        let Some(peer) = peer.filter(|peer| peer.is_tls) else { return Ok(None) };
        if let Some(leaf) = peer.certificates.first() {
            return match spiffe_id(leaf) {
                Ok(id) if self.trust_domains.contains(&id.trust_domain) => Ok(Some(Caller {
                    namespace: id.namespace.to_string(),
                    service_account: id.service_account.to_string(),
                })),
                Ok(id) => Err(Status::unauthenticated(format!(
                    "the client certificate is of trust domain {:?}, which is not this mesh's {:?}",
                    id.trust_domain.as_str(),
                    self.trust_domains.primary.as_str(),
                ))),
                Err(error) => Err(Status::unauthenticated(error.to_string())),
            };
        }
        let Some(token) = bearer(metadata) else {
            return Err(Status::unauthenticated(
                "no client certificate and no `authorization: Bearer` token with audience istio-ca",
            ));
        };
        self.review(token).await.map(Some)
    }

    /// Checks that the caller may speak for the node.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when the node is of another namespace or service account.
    pub fn authorize(&self, caller: Option<&Caller>, node: &ProxyNode) -> Result<(), Status> {
        let Some(caller) = caller.filter(|_| self.check_node) else { return Ok(()) };
        let namespace = node.id.namespace.as_str();
        if caller.namespace != namespace {
            return Err(Status::permission_denied(format!(
                "node {} is of namespace {namespace:?}, but the caller proved namespace {:?}",
                node.id, caller.namespace,
            )));
        }
        if let Some(claimed) = &node.metadata.namespace
            && *claimed != caller.namespace
        {
            return Err(Status::permission_denied(format!(
                "node {}: metadata NAMESPACE is {claimed:?}, but the caller proved namespace {:?}",
                node.id, caller.namespace,
            )));
        }
        if let Some(claimed) = &node.metadata.service_account
            && *claimed != caller.service_account
        {
            return Err(Status::permission_denied(format!(
                "node {}: metadata SERVICE_ACCOUNT is {claimed:?}, but the caller proved service account {:?}",
                node.id, caller.service_account,
            )));
        }
        Ok(())
    }

    /// The service account of a token with our audience.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it is not valid; `UNAVAILABLE` when that cannot be found out now.
    pub async fn review(&self, token: &str) -> Result<Caller, Status> {
        let Some(client) = &self.tokens else {
            return Err(Status::unauthenticated("this server takes client certificates only"));
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(client.clone());
        let parameters = PostParams::default();
        let failed = |reason: &dyn std::fmt::Display| {
            warn!("token review: {reason}");
            Status::unavailable("the token could not be reviewed; try again")
        };
        let reviewed = tokio::time::timeout(REVIEW, api.create(&parameters, &review))
            .await
            .map_err(|elapsed| failed(&elapsed))?
            .map_err(|error| failed(&error))?;
        let status = reviewed.status.unwrap_or_default();
        let fits = status.audiences.as_ref().is_some_and(|all| all.iter().any(|a| a == AUDIENCE));
        if status.authenticated != Some(true) || !fits {
            info!(reason = ?status.error, "a token was refused");
            return Err(Status::unauthenticated(
                "the token is not valid for audience istio-ca; is it expired, or of another cluster?",
            ));
        }
        let user = status.user.and_then(|user| user.username).unwrap_or_default();
        service_account(&user).ok_or_else(|| {
            Status::unauthenticated(format!("the token is of {user:?}, not of a service account"))
        })
    }
}

/// The token of `authorization: Bearer`.
#[must_use]
pub fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    (fits && token.len() <= MAX_TOKEN).then_some(token)
}

fn service_account(user: &str) -> Option<Caller> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':'))
        .then(|| Caller { namespace: namespace.to_owned(), service_account: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use mesh_api::node_metadata::NodeMetadata;
    use tonic::Code;

    use super::*;

    fn authenticator(check_node: bool) -> Authenticator {
        Authenticator { tokens: None, trust_domains: TrustDomains::default(), check_node }
    }

    fn node(namespace: Option<&str>, account: Option<&str>) -> ProxyNode {
        ProxyNode {
            id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local".parse().unwrap(),
            metadata: NodeMetadata {
                namespace: namespace.map(str::to_owned),
                service_account: account.map(str::to_owned),
                ..NodeMetadata::default()
            },
            features: Vec::new(),
            extensions: Vec::new(),
        }
    }

    fn caller(namespace: &str, account: &str) -> Caller {
        Caller { namespace: namespace.to_owned(), service_account: account.to_owned() }
    }

    #[test]
    fn a_caller_speaks_for_its_own_node_only() {
        let table = [
            (caller("default", "sa"), None, None, None),
            (caller("default", "sa"), Some("default"), Some("sa"), None),
            (caller("other", "sa"), None, None, Some("is of namespace \"default\"")),
            (caller("default", "sa"), Some("x"), None, Some("metadata NAMESPACE")),
            (caller("default", "sa"), None, Some("x"), Some("metadata SERVICE_ACCOUNT")),
        ];
        for (caller, namespace, account, refused) in table {
            let node = node(namespace, account);
            let result = authenticator(true).authorize(Some(&caller), &node);
            match (result, refused) {
                (Ok(()), None) => {}
                (Err(status), Some(text)) => {
                    assert_eq!(status.code(), Code::PermissionDenied);
                    assert!(status.message().contains(text), "{status}");
                }
                (result, refused) => panic!("{result:?} is not {refused:?}"),
            }
            assert!(authenticator(false).authorize(Some(&caller), &node).is_ok());
        }
    }

    #[test]
    fn tokens_and_users_are_read_strictly() {
        let metadata = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("authorization", value.parse().unwrap());
            metadata
        };
        assert_eq!(bearer(&metadata("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&metadata("bearer  abc")), Some("abc"));
        for bad in ["Basic abc", "Bearer", "Bearer "] {
            assert_eq!(bearer(&metadata(bad)), None, "{bad}");
        }
        assert_eq!(bearer(&metadata(&format!("Bearer {}", "x".repeat(MAX_TOKEN + 1)))), None);
        assert_eq!(service_account("system:serviceaccount:a:b"), Some(caller("a", "b")));
        for bad in [
            "admin",
            "system:serviceaccount:a",
            "system:serviceaccount:a:b:c",
            "system:serviceaccount::b",
        ] {
            assert_eq!(service_account(bad), None, "{bad}");
        }
    }
}
