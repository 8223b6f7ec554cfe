//! Tests of spawning, failing and stopping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::drain::{self, DrainMode, Phase};

const GRACEFUL: DrainMode = DrainMode::Graceful { deadline: Duration::from_secs(10) };

fn group() -> Tasks {
    Tasks::new(drain::channel().0)
}

#[tokio::test]
async fn result_and_panic_come_back_through_the_handle() {
    let tasks = group();
    assert_eq!(tasks.spawn("adds", async { 1 + 1 }).await, Ok(2));
    let panicked = tasks.spawn("breaks", async { panic!("boom {}", 7) }).await;
    assert_eq!(
        panicked.unwrap_err(),
        TaskError::Panicked { name: "breaks".into(), message: "boom 7".into() }
    );
    assert!(!tasks.drain().is_draining());
    assert!(tasks.drain().held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_work_and_not_for_background() {
    let tasks = group();
    let work = tasks.spawn("work", async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "done"
    });
    let background = tasks.spawn_background("background", std::future::pending::<()>());
    let begun = tokio::time::Instant::now();
    let outcome = tasks.trigger().start_drain_and_wait(GRACEFUL).await;
    assert!(outcome.is_clean());
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(work.await, Ok("done"));
    assert_eq!(background.await, Err(TaskError::Stopped { name: "background".into() }));
}

#[tokio::test(start_paused = true)]
async fn forced_stop_ends_work_and_names_it() {
    let tasks = group();
    let work = tasks.spawn("endless", std::future::pending::<()>());
    let outcome = tasks.trigger().start_drain_and_wait(GRACEFUL).await;
    assert_eq!(outcome.cut_off, ["endless"]);
    assert!(outcome.stuck.is_empty());
    assert_eq!(work.await, Err(TaskError::Stopped { name: "endless".into() }));
}

#[tokio::test]
async fn critical_error_and_critical_panic_start_the_drain() {
    let tasks = group();
    let failed = tasks.spawn_critical("store", async { Err("disk full") }).await;
    let expected = TaskError::Failed { name: "store".into(), message: "disk full".into() };
    assert_eq!(failed, Err(expected.clone()));
    assert_eq!(tasks.failures(), [expected]);
    assert_eq!(tasks.drain().phase(), Phase::Draining);

    let tasks = group();
    let table: Vec<u8> = Vec::new();
    let broken = tasks.spawn_critical("index", async move {
        if table[0] == 1 { Err("unreached") } else { Ok(()) }
    });
    assert!(matches!(broken.await, Err(TaskError::Panicked { .. })));
    assert!(tasks.drain().is_draining());

    let tasks = group();
    assert_eq!(tasks.spawn_critical("once", async { Ok::<(), String>(()) }).await, Ok(()));
    assert!(!tasks.drain().is_draining());
}

#[tokio::test(start_paused = true)]
async fn supervised_task_is_started_again_until_it_succeeds() {
    let tasks = group();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let handle = tasks.spawn_supervised("watch", Backoff::default(), move || {
        let run = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match run {
                0 => Err("connection refused"),
                1 => panic!("bug"),
                _ => Ok(()),
            }
        }
    });
    assert_eq!(handle.await, Ok(()));
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn supervised_task_is_not_started_again_while_draining() {
    let tasks = group();
    let handle =
        tasks.spawn_supervised("watch", Backoff::default(), || async { Err::<(), _>("no") });
    tasks.trigger().start();
    assert!(matches!(handle.await, Err(TaskError::Failed { .. })));
}

#[tokio::test]
async fn local_tasks_run_on_their_thread() {
    let local = tokio::task::LocalSet::new();
    let tasks = group();
    let not_send = std::rc::Rc::new(5);
    let value =
        local.run_until(async { tasks.spawn_local("local", async move { *not_send }).await });
    assert_eq!(value.await, Ok(5));
}

#[tokio::test]
async fn blocking_and_threads_have_names() {
    let sum = spawn_blocking("sum", || (1..=4).sum::<i32>()).await;
    assert_eq!(sum, Ok(10));
    let failed = spawn_blocking("bad", || panic!("oh")).await.unwrap_err();
    assert_eq!(failed, TaskError::Panicked { name: "bad".into(), message: "oh".into() });
    let thread = spawn_thread("lateen-test", || std::thread::current().name().map(str::to_owned));
    assert_eq!(thread.unwrap().join().unwrap().as_deref(), Some("lateen-test"));
}
