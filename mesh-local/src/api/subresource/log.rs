//! The log of a container, from the node.

use std::sync::Arc;

use http::Response;
use jiff::{SignedDuration, Timestamp};
use local_model::refusal::Refusal;
use serde_json::Value;

use crate::api::body::{self, ResponseBody};
use crate::api::error::Result;
use crate::api::query::Query;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::api::subresource::container;
use crate::node_api::LogRequest;

/// Streams the log that the query asks for.
pub(super) async fn serve(
    server: &Arc<Server>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let pod = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    let log = log_request(&pod, &request.query, Timestamp::now())?;
    container::check_host(&pod)?;
    let stream = server.node()?.pod_logs(log).await?;
    Ok(body::stream("text/plain", stream))
}

fn log_request(
    pod: &Value,
    query: &Query,
    now: Timestamp,
) -> std::result::Result<LogRequest, Refusal> {
    let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
    let count = |key: &str| -> std::result::Result<Option<u64>, Refusal> {
        query
            .number(key)?
            .map(|n| {
                u64::try_from(n).map_err(|_| {
                    Refusal::bad_request(format!(
                        "{key}: Invalid value: {n}: must be greater than or equal to 0"
                    ))
                })
            })
            .transpose()
    };
    let since = match (count("sinceSeconds")?, query.get("sinceTime")) {
        (Some(_), Some(_)) => {
            let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(Refusal::bad_request(message));
        }
        (Some(seconds), None) => {
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, Some(time)) => Some(time.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "sinceTime: Invalid value: {time:?}: must be an RFC 3339 time"
            ))
        })?),
        (None, None) => None,
    };
    Ok(LogRequest {
        namespace: part("namespace"),
        pod: part("name"),
        container: container::named(pod, query.get("container"))?,
        follow: query.flag("follow")?,
        tail_lines: count("tailLines")?,
        since,
        timestamps: query.flag("timestamps")?,
        previous: query.flag("previous")?,
        limit_bytes: count("limitBytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::log_request;
    use crate::api::query::Query;
    use serde_json::json;

    #[test]
    fn options() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"},
                         "spec": {"containers": [{"name": "a"}]}});
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let query = Query::parse("follow=true&tailLines=5&sinceSeconds=60&timestamps=1");
        let request = log_request(&pod, &query, now).unwrap();
        assert!(request.follow && request.timestamps && !request.previous);
        assert_eq!(request.tail_lines, Some(5));
        assert_eq!(request.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        for bad in
            ["tailLines=-1", "sinceTime=yesterday", "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"]
        {
            assert!(log_request(&pod, &Query::parse(bad), now).is_err(), "{bad}");
        }
    }
}
