//! Whether a request may be made, and the words when it may not.

use local_model::refusal::{Reason, Refusal, Subject};

use super::error::{ApiError, Result};
use super::identity::User;
use super::rbac::{Attributes, Authorizer};

/// Refuses what no role of the user allows.
pub(crate) fn authorize(
    authorizer: &Authorizer,
    user: &User,
    attributes: &Attributes<'_>,
) -> Result<()> {
    if authorizer.allows(user, attributes) { Ok(()) } else { Err(forbidden(user, attributes)) }
}

/// `pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"`.
pub(crate) fn forbidden(user: &User, attributes: &Attributes<'_>) -> ApiError {
    let name = &user.name;
    let verb = attributes.verb;
    if !attributes.path.is_empty() {
        let path = attributes.path;
        let message = format!("forbidden: User {name:?} cannot {verb} path {path:?}");
        return Refusal::new(Reason::Forbidden, message).into();
    }
    let resource = if attributes.subresource.is_empty() {
        attributes.resource.to_owned()
    } else {
        format!("{}/{}", attributes.resource, attributes.subresource)
    };
    let scope = if attributes.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", attributes.namespace)
    };
    let why = format!(
        "User {name:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
        attributes.group
    );
    let subject = Subject::new(attributes.group, attributes.resource, attributes.name);
    Refusal::forbidden(subject, &why).into()
}

#[cfg(test)]
mod tests {
    use super::{Attributes, User, forbidden};

    #[test]
    fn words() {
        let user = User::authenticated("x", &[]);
        let list =
            Attributes { verb: "list", resource: "pods", namespace: "y", ..Attributes::default() };
        assert_eq!(
            forbidden(&user, &list).message(),
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"y\""
        );
        let named = Attributes {
            verb: "patch",
            group: "apps",
            resource: "deployments",
            subresource: "scale",
            name: "d",
            ..Attributes::default()
        };
        assert_eq!(
            forbidden(&user, &named).message(),
            "deployments.apps \"d\" is forbidden: User \"x\" cannot patch resource \
             \"deployments/scale\" in API group \"apps\" at the cluster scope"
        );
        let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
        assert_eq!(
            forbidden(&user, &path).message(),
            "forbidden: User \"x\" cannot get path \"/metrics\""
        );
    }
}
