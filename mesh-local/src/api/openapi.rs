//! OpenAPI v3.

use http::{HeaderMap, Response};

use super::body::ResponseBody;
use super::error::{ApiError, Result};
use super::query::Query;
use super::registry::Rows;

pub(crate) fn serve(
    _: &Rows,
    _: &[&str],
    _: &Query,
    _: &HeaderMap,
) -> Result<Response<ResponseBody>> {
    Err(ApiError::no_such_path())
}
