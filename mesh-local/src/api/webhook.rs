//! Admission webhooks.

use serde_json::Value;

use super::admission::Review;
use super::error::Result;
use super::server::Server;

pub(crate) async fn mutate(_: &Server, _: &Review<'_>, _: &mut Value) -> Result<bool> {
    Ok(false)
}

pub(crate) async fn validate(_: &Server, _: &Review<'_>, _: Option<&Value>) -> Result<()> {
    Ok(())
}
