//! From an HTTP request to its handler: authenticate, authorize, resolve, dispatch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Method, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::upgrade::OnUpgrade;
use local_model::refusal::{Reason, Refusal};
use parking_lot::Mutex;

use super::body::{BodyError, ResponseBody};
use super::error::{ApiError, Result};
use super::identity::User;
use super::negotiate::{self, Encoding, Form};
use super::query::Query;
use super::rbac::Attributes;
use super::request::Request;
use super::route::{ResourcePath, Target, Verb, target};
use super::server::Server;
use super::{
    authn, authz, create, delete, documents, read, render, reviews, subresource, update, watch,
};

/// Largest request body, as a Kubernetes API server has it.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Answers one request. `peer` is the user of a verified client certificate, or of an
/// in-process client.
pub(crate) async fn handle<B>(
    server: Arc<Server>,
    peer: Option<Arc<User>>,
    request: http::Request<B>,
) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let (mut parts, body) = request.into_parts();
    let call = Call {
        server,
        peer,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        upgrade: parts.extensions.remove::<OnUpgrade>(),
    };
    let (method, path) = (call.method.clone(), call.path.clone());
    let served = AssertUnwindSafe(async move {
        let body = read_body(body).await?;
        call.serve(body).await
    });
    let result = Box::pin(served.catch_unwind()).await.unwrap_or_else(|_| {
        tracing::error!(%method, %path, "a request handler panicked");
        Err(Refusal::internal("the request handler failed; the server's log says where").into())
    });
    match result {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%method, %path, message = error.message(), "refused");
            error.response()
        }
    }
}

async fn read_body<B>(body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let collected = Limited::new(body, BODY_LIMIT).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let message = format!("Request entity too large: limit is {BODY_LIMIT}");
            Refusal::new(Reason::RequestEntityTooLarge, message).into()
        } else {
            Refusal::bad_request(format!("the body of the request could not be read: {error}"))
                .into()
        }
    })
}

struct Call {
    server: Arc<Server>,
    peer: Option<Arc<User>>,
    method: Method,
    path: String,
    query: Query,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
}

impl Call {
    async fn serve(self, body: Bytes) -> Result<Response<ResponseBody>> {
        let server = Arc::clone(&self.server);
        let user = authn::authenticate(
            &self.headers,
            self.peer.as_deref(),
            &server.signer,
            &server.store,
        )?;
        let user = authn::impersonate(&self.headers, user, &server.authorizer)?;
        match target(&self.path) {
            Target::Other(path) => self.document(&user, &path),
            Target::Resource(path) => {
                let request = self.resolve(user, path, body)?;
                // Warnings are for refused requests as well: they may say why.
                let served = dispatch(&server, &request).await;
                let mut response = served.unwrap_or_else(|error| {
                    tracing::debug!(message = error.message(), "refused");
                    error.response()
                });
                render::add_warnings(&mut response, &request.warnings.lock());
                Ok(response)
            }
        }
    }

    fn document(&self, user: &User, path: &str) -> Result<Response<ResponseBody>> {
        let verb = match self.method.as_str() {
            "GET" | "HEAD" => "get",
            "POST" => "post",
            "PUT" => "put",
            "DELETE" => "delete",
            other => other,
        };
        let attributes = Attributes { verb, path, ..Attributes::default() };
        authz::authorize(&self.server.authorizer, user, &attributes)?;
        if verb != "get" {
            return Err(ApiError::method_not_allowed());
        }
        documents::serve(&self.server, path, &self.query, &self.headers)
    }

    fn resolve(self, user: User, path: ResourcePath, body: Bytes) -> Result<Request> {
        let watching = self.query.flag("watch")? && path.name.is_empty();
        let named = !path.name.is_empty();
        let verb =
            Verb::of(&self.method, named, watching).ok_or_else(ApiError::method_not_allowed)?;
        let collective = matches!(verb.as_str(), "list" | "watch" | "deletecollection");
        let selected = self.query.only_name().filter(|_| collective).unwrap_or_default();
        let name = if named { path.name.as_str() } else { selected };
        let attributes = Attributes {
            verb: verb.as_str(),
            group: &path.group,
            resource: &path.resource,
            subresource: &path.subresource,
            namespace: &path.namespace,
            name,
            path: "",
        };
        authz::authorize(&self.server.authorizer, &user, &attributes)?;
        let rows = self.server.registry.rows();
        let resource = rows
            .find(&path.group, &path.version, &path.resource)
            .cloned()
            .ok_or_else(ApiError::no_such_path)?;
        let cluster_path = path.namespace.is_empty() || path.resource == "namespaces";
        if !cluster_path && !resource.namespaced() {
            return Err(ApiError::no_such_path());
        }
        if cluster_path && resource.namespaced() {
            if named {
                return Err(ApiError::no_such_path());
            }
            if !matches!(verb, Verb::List | Verb::Watch) {
                return Err(ApiError::method_not_allowed());
            }
        }
        let accept = self.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        // A log is text whatever is accepted, and a stream is no document at all.
        let streams =
            matches!(path.subresource.as_str(), "attach" | "exec" | "log" | "portforward");
        let (form, encoding) = if streams {
            (Form::Object, Encoding::Json)
        } else {
            negotiate::accept(accept.unwrap_or_default())?
        };
        Ok(Request {
            user,
            verb,
            path,
            resource,
            query: self.query,
            headers: self.headers,
            body,
            form,
            encoding,
            upgrade: Mutex::new(self.upgrade),
            warnings: Mutex::new(Vec::new()),
        })
    }
}

async fn dispatch(server: &Arc<Server>, request: &Request) -> Result<Response<ResponseBody>> {
    if let Some(text) = request.resource.deprecation() {
        request.warn(text);
    }
    if !matches!(request.path.subresource.as_str(), "" | "status") {
        return subresource::serve(server, request).await;
    }
    let info = &request.resource.info;
    if request.path.subresource == "status" {
        if !info.status {
            return Err(ApiError::no_such_path());
        }
        return match request.verb {
            Verb::Get => read::get(server, request),
            Verb::Update => update::update(server, request).await,
            Verb::Patch => update::patch(server, request).await,
            _ => Err(ApiError::method_not_allowed()),
        };
    }
    if !info.verbs.contains(&request.verb.as_str()) {
        return Err(ApiError::method_not_allowed());
    }
    if reviews::is_review(request) {
        return reviews::serve(server, request);
    }
    match request.verb {
        Verb::Get => read::get(server, request),
        Verb::List => read::list(server, request),
        Verb::Watch => watch::watch(server, request),
        Verb::Create if !request.path.name.is_empty() => Err(ApiError::method_not_allowed()),
        Verb::Create => create::create(server, request).await,
        Verb::Update => update::update(server, request).await,
        Verb::Patch => update::patch(server, request).await,
        Verb::Delete => delete::delete(server, request).await,
        Verb::DeleteCollection => delete::delete_collection(server, request).await,
    }
}
