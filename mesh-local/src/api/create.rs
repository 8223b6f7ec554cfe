//! POST of an object to its collection.

use http::{Response, StatusCode};
use jiff::Timestamp;
use local_model::refusal::Reason;

use super::body::ResponseBody;
use super::error::Result;
use super::query::WriteOptions;
use super::request::Request;
use super::server::Server;
use super::{admission, decode, metadata, render, write};

/// How many random suffixes are tried for one `generateName`.
const NAMES: usize = 8;

/// Creates the object in the body.
pub(crate) async fn create(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let mut object = decode::object(request, options.field_validation)?;
    metadata::match_path(request, &mut object)?;
    let generated = object["metadata"]["name"].as_str().unwrap_or_default().is_empty();
    let mut tries = if generated { NAMES } else { 1 };
    loop {
        tries -= 1;
        let admitted = write::admit_create(server, request, object.clone(), &options).await?;
        if options.dry_run {
            return Ok(render::object(request, StatusCode::CREATED, &admitted.object));
        }
        // Webhooks take their time: the namespace may have begun to go meanwhile.
        admission::check_namespace(server, request, &admitted.object)?;
        match write::commit_create(server, &request.resource, admitted) {
            Ok(stored) => {
                server.events.sweep(server, &request.resource, Timestamp::now());
                return Ok(render::object(request, StatusCode::CREATED, &stored));
            }
            Err(error) if tries > 0 && error.reason() == Some(Reason::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
}
