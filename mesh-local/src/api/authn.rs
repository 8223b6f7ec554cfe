//! Who makes a request: a client certificate, a service-account token, or nobody; and whom they
//! act as.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use local_model::refusal::{Reason, Refusal};

use super::error::Result;
use super::identity::{AUTHENTICATED, User, parse_service_account};
use super::rbac::{Attributes, Authorizer};
use super::token::{Claims, ISSUER, TokenSigner};
use crate::store::{ObjectKey, ResourceKey, Store};

/// A token that is good: its user, its audiences, its claims.
pub(crate) struct Authenticated {
    pub(crate) user: User,
    pub(crate) audiences: Vec<String>,
}

/// The user of a request, before impersonation. A token wins over a certificate, as it is the
/// more specific of the two.
pub(crate) fn authenticate(
    headers: &HeaderMap,
    peer: Option<&User>,
    signer: &TokenSigner,
    store: &Store,
) -> Result<User> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match (bearer, peer) {
        (Some(token), _) => {
            let found = review(token, signer, store).map_err(|detail| {
                tracing::debug!(%detail, "a token was refused");
                Refusal::new(Reason::Unauthorized, "Unauthorized")
            })?;
            if !found.audiences.iter().any(|a| a == ISSUER) {
                return Err(Refusal::new(Reason::Unauthorized, "Unauthorized").into());
            }
            Ok(found.user)
        }
        (None, Some(user)) => Ok(user.clone()),
        (None, None) => Ok(User::anonymous()),
    }
}

/// Checks a token, and that the objects it is bound to still exist; not its audience.
pub(crate) fn review(
    token: &str,
    signer: &TokenSigner,
    store: &Store,
) -> std::result::Result<Authenticated, String> {
    let claims = signer.verify(token)?;
    check_bound(&claims, store)?;
    let bound = &claims.kubernetes;
    let mut user = User::service_account(
        &bound.namespace,
        &bound.serviceaccount.name,
        &bound.serviceaccount.uid,
    );
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &bound.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        extra("node-name", &node.name);
        if !node.uid.is_empty() {
            extra("node-uid", &node.uid);
        }
    }
    Ok(Authenticated { user, audiences: claims.aud })
}

fn check_bound(claims: &Claims, store: &Store) -> std::result::Result<(), String> {
    let bound = &claims.kubernetes;
    let mut wanted = vec![("serviceaccounts", &bound.serviceaccount)];
    wanted.extend(bound.pod.iter().map(|pod| ("pods", pod)));
    wanted.extend(bound.secret.iter().map(|secret| ("secrets", secret)));
    for (resource, reference) in wanted {
        let key = ObjectKey::new(&bound.namespace, &reference.name);
        let object = store.get(&ResourceKey::new("", resource), &key);
        let uid = object.as_ref().and_then(|o| o["metadata"]["uid"].as_str());
        if uid != Some(reference.uid.as_str()) {
            return Err(format!(
                "the token is bound to {resource} \"{}/{}\" (uid {}), which does not exist",
                key.namespace, key.name, reference.uid
            ));
        }
    }
    Ok(())
}

/// The user of a verified client certificate: its common name, in its organizations.
pub(crate) fn certificate_user(certificate: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(User::authenticated(name, &groups))
}

/// The user that `Impersonate-*` headers ask for, if the caller may.
pub(crate) fn impersonate(
    headers: &HeaderMap,
    caller: User,
    authorizer: &Authorizer,
) -> Result<User> {
    const EXTRA: &str = "impersonate-extra-";
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let Some(name) = headers.get("impersonate-user").map(text) else {
        let stray = headers.keys().any(|key| key.as_str().starts_with("impersonate-"));
        if stray {
            let why = "requested impersonation without impersonating a user";
            return Err(Refusal::internal(why).into());
        }
        return Ok(caller);
    };
    let allowed = |group: &str, resource: &str, namespace: &str, name: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = Attributes {
            verb: "impersonate",
            group,
            resource,
            subresource,
            namespace,
            name,
            path: "",
        };
        if authorizer.allows(&caller, &attributes) {
            return Ok(());
        }
        Err(super::authz::forbidden(&caller, &attributes))
    };
    let mut user = match parse_service_account(&name) {
        Some((namespace, account)) => {
            allowed("", "serviceaccounts", namespace, account)?;
            User::service_account(namespace, account, "")
        }
        None => {
            allowed("", "users", "", &name)?;
            User { name: name.clone(), ..User::default() }
        }
    };
    for group in headers.get_all("impersonate-group").iter().map(text) {
        allowed("", "groups", "", &group)?;
        user.groups.push(group);
    }
    if let Some(uid) = headers.get("impersonate-uid").map(text) {
        allowed("authentication.k8s.io", "uids", "", &uid)?;
        user.uid = uid;
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in headers {
        let Some(key) = key.as_str().strip_prefix(EXTRA) else { continue };
        allowed("authentication.k8s.io", &format!("userextras/{key}"), "", &text(value))?;
        extra.entry(key.to_owned()).or_default().push(text(value));
    }
    user.extra = extra;
    if user.name != "system:anonymous" && !user.in_group(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    Ok(user)
}
