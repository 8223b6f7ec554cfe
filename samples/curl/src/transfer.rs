//! One URL from request to output: redirects, retries, time limits.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::console::Console;
use crate::cookies::Jar;
use crate::error::{CurlError, transient_status};
use crate::exchange::{Answer, Connection, Opener};
use crate::payload::Payload;
use crate::request::{Request, Turn, method};
use crate::stats::Stats;
use crate::url::Url;

/// What is read of a body that nobody wants, to use its connection again.
const DISCARD_BYTES: usize = 1 << 20;

/// The longest rest between tries.
const RETRY_REST: Duration = Duration::from_secs(600);

/// All that outlives one URL.
pub(crate) struct Session<'a> {
    pub(crate) args: &'a Args,
    pub(crate) opener: Opener<'a>,
    pub(crate) payload: Payload,
    pub(crate) jar: Jar,
    pub(crate) console: &'a mut Console,
    pub(crate) connection: Option<Connection>,
}

/// Where a body goes.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The file's name; standard output without.
    name: Option<String>,
    file: Option<File>,
}

impl Sink {
    pub(crate) fn new(name: Option<String>) -> Self {
        Self { name: name.filter(|name| name != "-"), file: None }
    }

    fn write(&mut self, bytes: &[u8], console: &mut Console) -> Result<(), CurlError> {
        let Some(name) = &self.name else { return console.print(bytes) };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create(name).map_err(CurlError::Write)?),
        };
        file.write_all(bytes).map_err(CurlError::Write)
    }
}

impl Session<'_> {
    /// Fetches `text`, tries again as the user wishes; what was measured, and how it ended.
    pub(crate) async fn fetch(
        &mut self,
        text: &str,
        name: Option<String>,
    ) -> (Stats, Result<(), CurlError>) {
        let mut tries = self.args.retry;
        let mut rest = Duration::from_secs(1);
        loop {
            let mut stats = Stats::new(text);
            stats.file = name.clone().unwrap_or_default();
            let mut sink = Sink::new(name.clone());
            let result = self.limited(text, &mut stats, &mut sink).await;
            stats.total = stats.elapsed();
            let Some(problem) = self.problem(&stats, &result).filter(|_| tries > 0) else {
                return (stats, result);
            };
            let pause = self.args.retry_delay.unwrap_or(rest);
            if !self.args.silent {
                let seconds = pause.as_secs();
                let plural = if seconds == 1 { "" } else { "s" };
                self.console.note(&format!(
                    "Warning: Problem: {problem}. Will retry in {seconds} second{plural}. \
                     {tries} retries left."
                ));
            }
            sleep(pause).await;
            tries -= 1;
            rest = (rest * 2).min(RETRY_REST);
        }
    }

    /// Why another try makes sense, if it does.
    fn problem(&self, stats: &Stats, result: &Result<(), CurlError>) -> Option<String> {
        let status = stats.head.as_ref().map_or(0, |head| head.status);
        match result {
            Ok(()) => transient_status(status).then(|| "HTTP error".to_owned()),
            Err(CurlError::Timeout { .. } | CurlError::ConnectTimeout(_)) => {
                Some("timeout".to_owned())
            }
            Err(CurlError::Connect { .. }) if self.args.retry_connrefused => {
                Some("connection refused".to_owned())
            }
            Err(error) if error.is_transient() || self.args.retry_all_errors => {
                Some(error.to_string())
            }
            Err(_) => None,
        }
    }

    async fn limited(
        &mut self,
        text: &str,
        stats: &mut Stats,
        sink: &mut Sink,
    ) -> Result<(), CurlError> {
        let Some(limit) = self.args.max_time else { return self.follow(text, stats, sink).await };
        match timeout(limit, self.follow(text, stats, sink)).await {
            Ok(result) => result,
            Err(_late) => {
                let millis = stats.elapsed().as_millis();
                Err(match stats.is_connected {
                    true => CurlError::Timeout { millis, received: stats.body_bytes },
                    false => CurlError::ConnectTimeout(millis),
                })
            }
        }
    }

    /// Sends requests until one is answered without a redirect that is to be followed.
    async fn follow(
        &mut self,
        text: &str,
        stats: &mut Stats,
        sink: &mut Sink,
    ) -> Result<(), CurlError> {
        let mut url = Url::parse(text)?;
        let first = (url.host.clone(), url.port);
        let mut method = method(self.args, &self.payload);
        let mut with_body = true;
        loop {
            stats.effective_url = url.to_string();
            stats.scheme = url.scheme.name();
            stats.method.clone_from(&method);
            let trusted = self.args.location_trusted || first == (url.host.clone(), url.port);
            let turn = Turn {
                url: url.clone(),
                method: method.clone(),
                body: with_body,
                trusted,
                cookies: self.jar.field(&url),
                payload: &self.payload,
            };
            let request = Request::new(self.args, turn)?;
            let kept = self.connection.take();
            let mut answer = self.opener.exchange(&request, kept, stats, self.console).await?;
            self.note_head(&url, &answer, stats, sink)?;
            let next = redirect(&url, &answer)?;
            let Some(next) = next.filter(|_| self.args.follows()) else {
                let location = answer.head.header("location").filter(|_| is_redirect(&answer));
                let location = location.and_then(|location| url.join(location).ok());
                stats.redirect_url = location.map(|url| url.to_string()).unwrap_or_default();
                return self.body(answer, stats, sink).await;
            };
            let limit = u32::try_from(self.args.max_redirs).unwrap_or(u32::MAX);
            if stats.redirects >= limit {
                return Err(CurlError::Redirects(limit));
            }
            let status = answer.head.status;
            discard(&mut answer).await;
            self.connection = answer.into_connection();
            stats.redirects += 1;
            stats.redirect_time = stats.elapsed();
            if self.args.verbose {
                self.console.note(&format!("* Issue another request to this URL: '{next}'"));
            }
            // As browsers: what was sent is not sent again, except where the status says so.
            if matches!(status, 301..=303) && with_body && self.payload.body.is_some() {
                with_body = false;
                if self.args.request.is_none() {
                    method = "GET".to_owned();
                }
            }
            url = next;
        }
    }

    /// Shows and remembers the head.
    fn note_head(
        &mut self,
        url: &Url,
        answer: &Answer,
        stats: &mut Stats,
        sink: &mut Sink,
    ) -> Result<(), CurlError> {
        let head = &answer.head;
        stats.head_bytes += head.raw.len() as u64;
        stats.head = Some(head.clone());
        for cookie in head.values("set-cookie") {
            self.jar.set(url, cookie);
        }
        match self.args.dump_header.as_deref() {
            Some("-") => self.console.print(&head.raw)?,
            Some(file) => {
                let opened = File::options().create(true).append(true).open(file);
                let written = opened.and_then(|mut file| file.write_all(&head.raw));
                written.map_err(CurlError::Write)?;
            }
            None => {}
        }
        if self.args.include || self.args.head {
            sink.write(&head.raw, self.console)?;
        }
        Ok(())
    }

    async fn body(
        &mut self,
        mut answer: Answer,
        stats: &mut Stats,
        sink: &mut Sink,
    ) -> Result<(), CurlError> {
        let status = answer.head.status;
        if self.args.fail && status >= 400 {
            return Err(CurlError::Status(status));
        }
        while let Some(bytes) = answer.chunk().await? {
            stats.body_bytes += bytes.len() as u64;
            sink.write(&bytes, self.console)?;
        }
        // An empty body is an empty file, too.
        sink.write(b"", self.console)?;
        self.connection = answer.into_connection();
        if self.args.verbose {
            self.console.note(match self.connection {
                Some(_) => "* Connection left intact",
                None => "* Closing connection",
            });
        }
        if self.args.fail_with_body && status >= 400 {
            return Err(CurlError::Status(status));
        }
        Ok(())
    }
}

fn is_redirect(answer: &Answer) -> bool {
    matches!(answer.head.status, 300..=399)
}

/// Where an answer leads.
fn redirect(url: &Url, answer: &Answer) -> Result<Option<Url>, CurlError> {
    match answer.head.header("location") {
        Some(location) if is_redirect(answer) => match url.join(location) {
            Ok(next) => Ok(Some(next)),
            // Nobody may want to follow.
            Err(CurlError::Protocol(_)) => Ok(None),
            Err(error) => Err(error),
        },
        _ => Ok(None),
    }
}

async fn discard(answer: &mut Answer) {
    let mut read = 0;
    while read < DISCARD_BYTES {
        match answer.chunk().await {
            Ok(Some(bytes)) => read += bytes.len(),
            Ok(None) | Err(_) => return,
        }
    }
}
