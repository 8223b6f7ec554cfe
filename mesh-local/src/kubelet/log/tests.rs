//! Logs as they are written and read.

use futures::StreamExt;
use jiff::Timestamp;

use super::reader::{self, Options};
use super::writer::LogWriter;
use super::*;
use crate::kubelet::command::Tap;

fn key(run: u32) -> LogKey {
    LogKey { pod_uid: "u".to_owned(), container: "c".to_owned(), run }
}

fn store() -> (tempfile::TempDir, Arc<LogStore>) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = LogStore::new(dir.path().to_owned());
    (dir, store)
}

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn line(second: u32, text: &str) -> String {
    format!("1970-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
}

async fn read(store: &Arc<LogStore>, run: u32, options: Options) -> String {
    let stream = reader::open(store, &key(run), options).await.expect("opened");
    let pieces: Vec<_> = stream.collect().await;
    let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.expect("read")).collect();
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn both_streams_are_written_and_read() {
    let (_dir, store) = store();
    let writer = LogWriter::create(&store, &key(0), ROTATE_BYTES).expect("created");
    writer.pump(&b"one\ntwo\n"[..], &b"err\n"[..], &Tap::default(), epoch).await;
    let mut text: Vec<String> =
        read(&store, 0, Options::default()).await.lines().map(str::to_owned).collect();
    text.sort();
    assert_eq!(text.concat().len(), "onetwoerr".len());
    let stamped = read(&store, 0, Options { timestamps: true, ..Options::default() }).await;
    assert!(stamped.contains("1970-01-01T00:00:00.000000000Z err\n"), "{stamped}");
}

#[tokio::test]
async fn parts_of_a_log() {
    let (_dir, store) = store();
    let mut writer = LogWriter::create(&store, &key(0), ROTATE_BYTES).expect("created");
    for second in 1..=5 {
        writer.append(line(second, &second.to_string()).as_bytes()).expect("written");
    }
    drop(writer);
    let second = |s| Timestamp::from_second(s).ok();
    for (options, expected) in [
        (Options::default(), "1\n2\n3\n4\n5\n"),
        (Options { tail_lines: Some(2), ..Options::default() }, "4\n5\n"),
        (Options { tail_lines: Some(0), ..Options::default() }, ""),
        (Options { tail_lines: Some(9), ..Options::default() }, "1\n2\n3\n4\n5\n"),
        (Options { since: second(4), ..Options::default() }, "4\n5\n"),
        (Options { limit_bytes: Some(3), ..Options::default() }, "1\n2"),
        (Options { follow: true, ..Options::default() }, "1\n2\n3\n4\n5\n"),
    ] {
        assert_eq!(read(&store, 0, options).await, expected, "{options:?}");
    }
}

#[tokio::test]
async fn followers_see_every_line_across_rotations() {
    let (_dir, store) = store();
    // Three lines a file.
    let mut writer = LogWriter::create(&store, &key(0), 3 * 44).expect("created");
    writer.append(line(0, "0").as_bytes()).expect("written");
    let options = Options { follow: true, ..Options::default() };
    let mut stream = reader::open(&store, &key(0), options).await.expect("opened");
    let mut seen = String::new();
    for number in 1..20 {
        // The reader keeps up: it has the line before the next is written.
        while seen.lines().count() < number {
            let piece = stream.next().await.expect("more").expect("read");
            seen.push_str(std::str::from_utf8(&piece).expect("text"));
        }
        writer.append(line(0, &number.to_string()).as_bytes()).expect("written");
    }
    drop(writer);
    while let Some(piece) = stream.next().await {
        seen.push_str(std::str::from_utf8(&piece.expect("read")).expect("text"));
    }
    let expected: String = (0..20).map(|number| format!("{number}\n")).collect();
    assert_eq!(seen, expected);
    // Late readers see what rotation has left.
    let rest = read(&store, 0, Options::default()).await;
    assert!(expected.ends_with(&rest) && rest.lines().count() >= 4, "{rest}");
}

#[tokio::test]
async fn runs_are_numbered_and_pruned() {
    let (_dir, store) = store();
    assert_eq!(store.latest_run("u", "c"), None);
    for run in [0, 1, 2] {
        LogWriter::create(&store, &key(run), ROTATE_BYTES).expect("created");
    }
    assert_eq!((store.latest_run("u", "c"), store.previous_run("u", "c")), (Some(2), Some(1)));
    store.prune("u", "c");
    assert!(!store.path(&key(0)).exists() && store.path(&key(1)).exists());
    store.keep_pods(&["u".to_owned()]);
    assert_eq!(store.latest_run("u", "c"), Some(2));
    store.keep_pods(&[]);
    assert_eq!(store.latest_run("u", "c"), None);
}
