//! What judges and changes an object between its body and the store: the built-in plugins and
//! the webhooks of the cluster.

mod namespace;
mod pod;
mod rbac;
mod service_account;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::namespace::{check as check_namespace, check_delete};
pub(crate) use self::rbac::check as check_escalation;
use super::error::Result;
use super::request::Request;
use super::server::Server;
use super::webhook;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    /// As webhook rules spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// One write under review.
pub(crate) struct Review<'a> {
    pub(crate) request: &'a Request,
    pub(crate) operation: Operation,
    pub(crate) subresource: &'a str,
    pub(crate) old: Option<&'a Arc<Value>>,
    pub(crate) dry_run: bool,
}

/// Lets the plugins and the mutating webhooks change the object. The plugins see it again after
/// the webhooks, so that an injected container gets its token too.
pub(crate) async fn mutate(server: &Server, review: &Review<'_>, object: &mut Value) -> Result<()> {
    plugins(server, review, object)?;
    if webhook::mutate(server, review, object).await? {
        plugins(server, review, object)?;
    }
    Ok(())
}

fn plugins(server: &Server, review: &Review<'_>, object: &mut Value) -> Result<()> {
    let gvk = &review.request.resource.info.gvk;
    let new_pod = gvk.group.is_empty() && gvk.kind == "Pod" && review.subresource.is_empty();
    if new_pod && review.operation == Operation::Create {
        service_account::admit(server, review.request, object)?;
        pod::admit(server, review.request, object)?;
    }
    Ok(())
}

/// Asks the validating webhooks. `object` is absent when the object goes.
pub(crate) async fn validate(
    server: &Server,
    review: &Review<'_>,
    object: Option<&Value>,
) -> Result<()> {
    webhook::validate(server, review, object).await
}
