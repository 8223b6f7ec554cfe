//! Callers by their service account token, which Kubernetes reviews.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::spiffe::SpiffeId;
use mesh_api::trust_domain::TrustDomain;

use super::{Authenticator, AuthnError, Caller, CallerKind, Credentials};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Knows callers by a token whose audience is this authority.
pub struct TokenReviews {
    api: Api<TokenReview>,
    audience: String,
    domain: TrustDomain,
}

impl TokenReviews {
    /// Asks `client` for reviews; callers get identities of `domain`.
    #[must_use]
    pub fn new(client: Client, audience: String, domain: TrustDomain) -> Self {
        Self { api: Api::all(client), audience, domain }
    }
}

#[tonic::async_trait]
impl Authenticator for TokenReviews {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<Caller>, AuthnError> {
        let Some(token) = &credentials.token else { return Ok(None) };
        let spec = TokenReviewSpec {
            audiences: Some(vec![self.audience.clone()]),
            token: Some(token.clone()),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = self.api.create(&PostParams::default(), &review).await;
        let reviewed = reviewed.map_err(|error| AuthnError::Unavailable(error.to_string()))?;
        let status = reviewed.status.unwrap_or_default();
        let spiffe =
            workload_of_review(&status, &self.audience, &self.domain).map_err(AuthnError::Token)?;
        Ok(Some(Caller { spiffe, kind: CallerKind::Token }))
    }
}

fn workload_of_review(
    status: &TokenReviewStatus,
    audience: &str,
    domain: &TrustDomain,
) -> Result<SpiffeId, String> {
    if !status.authenticated.unwrap_or(false) {
        let reason = status.error.as_deref().unwrap_or("no reason given");
        return Err(format!("Kubernetes does not accept it: {reason}"));
    }
    // A reviewer that knows nothing of audiences leaves the list out: then any audience passed.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|found| found == audience) {
        return Err(format!("its audience is {audiences:?}, not {audience}"));
    }
    let user = status.user.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default();
    workload_of_user(user, domain).ok_or_else(|| format!("user {user:?} is no service account"))
}

/// The workload of a Kubernetes user, if it is `system:serviceaccount:<namespace>:<name>`.
#[must_use]
pub fn workload_of_user(user: &str, domain: &TrustDomain) -> Option<SpiffeId> {
    let (namespace, account) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    Some(SpiffeId {
        trust_domain: domain.clone(),
        namespace: Namespace::parse(namespace).ok()?,
        service_account: ObjectName::parse(account).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_name_service_accounts_only() {
        let review = |authenticated: bool, user: &str, audiences: &[&str]| {
            let status = serde_json::json!({
                "authenticated": authenticated,
                "user": {"username": user},
                "audiences": audiences,
            });
            let status: TokenReviewStatus = serde_json::from_value(status).unwrap();
            workload_of_review(&status, "istio-ca", &TrustDomain::default())
        };
        let app = "system:serviceaccount:default:app";
        let found = review(true, app, &["istio-ca"]).unwrap();
        assert_eq!(found.to_string(), "spiffe://cluster.local/ns/default/sa/app");
        assert!(review(false, app, &["istio-ca"]).is_err());
        assert!(review(true, app, &["https://kubernetes.default.svc"]).is_err());
        assert!(review(true, app, &[]).is_err());
        for user in [
            "",
            "admin",
            "system:serviceaccount:default",
            "system:serviceaccount::app",
            "system:serviceaccount:default:",
            "system:serviceaccount:default:a:b",
            "system:serviceaccount:default/x:app",
            "system:node:default:app",
        ] {
            assert!(review(true, user, &["istio-ca"]).is_err(), "{user}");
        }
    }
}
