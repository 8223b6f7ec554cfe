//! Copies bytes between two TCP connections until both directions have ended.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// Bytes read at a time, in each direction.
const BUFFER: usize = 32 * 1024;

/// Relays both ways. The end of one direction is passed on (half-close) and the other goes on.
/// An error is passed on too: both connections are then reset.
///
/// # Errors
/// The first error of either connection; `TimedOut` when nothing moved in either direction for
/// `idle`.
pub async fn relay(mut left: TcpStream, mut right: TcpStream, idle: Duration) -> io::Result<()> {
    let activity = Activity { since: Instant::now(), last: AtomicU64::new(0) };
    let (left_read, left_write) = left.split();
    let (right_read, right_write) = right.split();
    let both = async {
        tokio::try_join!(
            copy(left_read, right_write, &activity),
            copy(right_read, left_write, &activity)
        )
    };
    let result = tokio::select! {
        result = both => result.map(|((), ())| ()),
        () = activity.ended(idle) => Err(io::ErrorKind::TimedOut.into()),
    };
    if result.is_err() {
        for stream in [&left, &right] {
            // The connection that failed is gone already.
            let _gone = stream.set_zero_linger();
        }
    }
    result
}

/// When bytes last moved, in milliseconds since the relay began.
#[derive(Debug)]
struct Activity {
    since: Instant,
    last: AtomicU64,
}

impl Activity {
    fn note(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for `idle`.
    async fn ended(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.since + last + idle;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    activity: &Activity,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        activity.note();
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        activity.note();
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connect"), far.expect("accept").0)
    }

    #[tokio::test]
    async fn one_direction_may_end_before_the_other() {
        let (mut client, outer) = pair().await;
        let (inner, mut server) = pair().await;
        let relayed = relay(outer, inner, Duration::from_secs(60));
        let talk = async {
            client.write_all(b"question").await.expect("write");
            client.shutdown().await.expect("shutdown");
            let mut question = String::new();
            server.read_to_string(&mut question).await.expect("the end reaches the server");
            // The client has nothing more to say, and still hears all of the answer.
            let answer = vec![7; 300_000];
            server.write_all(&answer).await.expect("write");
            drop(server);
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("read");
            (question, heard.len())
        };
        let (result, (question, heard)) = tokio::join!(relayed, talk);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((question.as_str(), heard), ("question", 300_000));
    }

    #[tokio::test]
    async fn a_reset_is_passed_on() {
        let (mut client, outer) = pair().await;
        let (inner, server) = pair().await;
        server.set_zero_linger().expect("set");
        drop(server);
        let result = relay(outer, inner, Duration::from_secs(60)).await;
        let reset = io::ErrorKind::ConnectionReset;
        assert_eq!(result.map_err(|err| err.kind()), Err(reset));
        let heard = client.read(&mut [0; 1]).await;
        assert_eq!(heard.map_err(|err| err.kind()), Err(reset));
    }

    #[tokio::test]
    async fn a_silent_relay_ends() {
        let (_client, outer) = pair().await;
        let (inner, _server) = pair().await;
        let result = relay(outer, inner, Duration::from_millis(20)).await;
        assert_eq!(result.map_err(|err| err.kind()), Err(io::ErrorKind::TimedOut));
    }
}
