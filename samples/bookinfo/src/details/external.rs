//! The outside book service that details v2 asks: Google Books, over TLS or in clear.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{HeaderMap, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use mesh_rt::files::read_bounded;
use mesh_rt::http_server::read_body;
use mesh_rt::tasks::Tasks;
use mesh_rt::tls::{client_config, roots_from_pem};
use mesh_rt::tls_stream::MaybeTls;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Book;

/// The edition that is asked for: one whose only author is Shakespeare.
const ISBN: &str = "0486424618";

/// The largest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Why the outside service gave no book.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// No connection, no TLS, or it broke.
    #[error("asking {host}: {reason}")]
    Call {
        /// The host.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// Nothing within the time limit.
    #[error("{host} did not answer within {limit:?}")]
    TimedOut {
        /// The host.
        host: String,
        /// The time limit.
        limit: Duration,
    },
    /// The answer has no such book.
    #[error("{host} answered without {missing}")]
    Answer {
        /// The host.
        host: String,
        /// The part that is missing.
        missing: &'static str,
    },
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct BookService {
    /// The host's name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The file of roots to check the host with; `None` asks in clear.
    pub roots: Option<PathBuf>,
    /// How long an answer may take.
    pub limit: Duration,
    /// Where connections live.
    pub tasks: Tasks,
}

impl BookService {
    /// Google Books: over TLS if there are roots to check it with, else in clear on port 80.
    #[must_use]
    pub fn google(roots: Option<PathBuf>, tasks: Tasks, limit: Duration) -> Self {
        let port = if roots.is_some() { 443 } else { 80 };
        Self { host: "www.googleapis.com".to_owned(), port, roots, limit, tasks }
    }

    /// Fetches the book, under the number `id`.
    ///
    /// # Errors
    /// [`ExternalError`] when there is no complete answer, or no book in it.
    pub async fn fetch(&self, id: i64, headers: HeaderMap) -> Result<Book, ExternalError> {
        let host = || self.host.clone();
        let late = |_| ExternalError::TimedOut { host: host(), limit: self.limit };
        let call = tokio::time::timeout(self.limit, self.call(headers)).await.map_err(late)?;
        let answer =
            call.map_err(|error| ExternalError::Call { host: host(), reason: error.to_string() })?;
        book(id, &answer).map_err(|missing| ExternalError::Answer { host: host(), missing })
    }

    async fn call(
        &self,
        headers: HeaderMap,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let io = match &self.roots {
            Some(path) => {
                let roots = roots_from_pem(&read_bounded(path).await?)?;
                let config = client_config(None, roots, &[b"http/1.1"])?;
                let name = ServerName::try_from(self.host.clone())?;
                let tls = TlsConnector::from(std::sync::Arc::new(config));
                MaybeTls::Tls(Box::new(tls.connect(name, stream).await?.into()))
            }
            None => MaybeTls::Plain(stream),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        let _detached = self.tasks.spawn_background("book service", connection);
        let mut request =
            Request::get(format!("/books/v1/volumes?q=isbn:{ISBN}")).body(Empty::<Bytes>::new())?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.host)?);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let response = sender.send_request(request).await?;
        let body = read_body(response.into_body(), ANSWER_BYTES).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}

/// The book in an answer of Google Books; the error names what is missing.
fn book(id: i64, answer: &Value) -> Result<Book, &'static str> {
    let volume = answer.pointer("/items/0/volumeInfo").ok_or("items[0].volumeInfo")?;
    let identifiers = volume["industryIdentifiers"].as_array().ok_or("industryIdentifiers")?;
    let isbn = |kind: &str| {
        let found = identifiers.iter().find(|identifier| identifier["type"] == kind);
        found.map(|identifier| identifier["identifier"].clone())
    };
    let named = |matches: bool, name: &str| if matches { name } else { "unknown" }.to_owned();
    Ok(Book {
        id,
        author: volume.pointer("/authors/0").ok_or("authors")?.clone(),
        year: volume["publishedDate"].clone(),
        binding: named(volume["printType"] == "BOOK", "paperback"),
        pages: volume["pageCount"].clone(),
        publisher: volume["publisher"].clone(),
        language: named(volume["language"] == "en", "English"),
        isbn_10: isbn("ISBN_10").ok_or("ISBN_10")?,
        isbn_13: isbn("ISBN_13").ok_or("ISBN_13")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = serde_json::json!({"items": [{"volumeInfo": {
            "authors": ["William Shakespeare"], "publishedDate": "2002-01-01", "printType": "BOOK",
            "pageCount": 64, "publisher": "Dover", "language": "en", "industryIdentifiers": [
                {"type": "ISBN_13", "identifier": "13"}, {"type": "ISBN_10", "identifier": "10"},
            ],
        }}]});
        let found = book(7, &answer).unwrap();
        assert_eq!(
            (found.id, found.binding.as_str(), found.language.as_str()),
            (7, "paperback", "English")
        );
        assert_eq!((found.isbn_10, found.isbn_13), ("10".into(), "13".into()));
        assert_eq!(book(7, &serde_json::json!({"items": []})), Err("items[0].volumeInfo"));
        assert_eq!(book(7, &Value::Null), Err("items[0].volumeInfo"));
    }
}
