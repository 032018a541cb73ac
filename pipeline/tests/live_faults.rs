//! What cameras and networks do to each other, one fault after the other: after each the camera is
//! live again without anybody's help, and every instant is accounted for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use footage_clip::{Clock, LostReason, RunCause};
use footage_pipeline::{Camera, CameraState, LiveError};
use support::house::{House, Plan, camera, has_failed, is_live, until};
use support::server::Server;
use tokio::time::sleep;

/// A camera that is live and has given clips; none, and a word, where there is no server.
async fn watched(mount: &str) -> Option<(Server, House, Camera)> {
    let server = Server::start(&[mount])?;
    let house = House::open(Plan::default())?;
    let camera = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    house.watch.set(camera.clone());
    house.more_clips(2).await;
    Some((server, house, camera))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_reset_is_made_again() {
    let Some((mut server, house, camera)) = watched("door").await else { return };
    for round in 1..4 {
        server.tell(r#"{"do":"reset"}"#);
        let reconnects = || house.status(&camera).unwrap().counts.reconnects;
        until("to notice", || reconnects() == round, || reconnects().to_string()).await;
        house.until(&camera, is_live).await;
        house.more_clips(2).await;
    }
    let causes: Vec<_> = house.runs().iter().map(|run| run.cause).collect();
    assert_eq!(causes[1..], [RunCause::Reconnected; 3], "{causes:?}");
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_carries_nothing_any_more_is_noticed() {
    let Some((mut server, house, camera)) = watched("door").await else { return };
    server.tell(r#"{"do":"freeze"}"#);
    house.until(&camera, |state| *state == CameraState::Stalled).await;
    house.until(&camera, |state| *state == CameraState::Failed(LiveError::Silent)).await;
    sleep(Duration::from_secs(3)).await;
    assert!(has_failed(&house.status(&camera).unwrap().state));
    server.tell(r#"{"do":"thaw"}"#);
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    let stalled = house.lost().iter().any(|(_, reason)| *reason == LostReason::Stalled);
    assert!(stalled, "{:?}", house.lost());
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_survived() {
    let Some((mut server, house, camera)) = watched("door").await else { return };
    server.tell(r#"{"do":"garbage","mount":"door","seconds":4}"#);
    sleep(Duration::from_secs(5)).await;
    house.until(&camera, is_live).await;
    house.more_clips(4).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_whose_clock_is_set_begins_a_run_and_tells_its_time() {
    let Some((mut server, house, _)) = watched("door").await else { return };
    let set = || house.runs().iter().filter(|run| run.cause == RunCause::ClockSet).count();
    let utc_ahead_ms = || {
        let span = house.clips().last().unwrap().span;
        let utc = span.utc.unwrap();
        (utc, (utc.unix_ns - span.start_ns.cast_signed()) / 1_000_000)
    };
    server.tell(r#"{"do":"clock-jump","mount":"door","seconds":5}"#);
    until("a run", || set() == 1, || format!("{:?}", house.runs())).await;
    house.more_clips(2).await;
    let (utc, ahead_ms) = utc_ahead_ms();
    assert_eq!(utc.clock, Clock::RtcpSenderReport);
    assert!((3_000..7_000).contains(&ahead_ms), "{ahead_ms} {utc:?}");
    assert!(utc.uncertainty_ms > 3_000, "two clocks that differ by seconds: {utc:?}");
    server.tell(r#"{"do":"clock-jump","mount":"door","seconds":3600}"#);
    until("a run", || set() == 2, || format!("{:?}", house.runs())).await;
    house.more_clips(2).await;
    let (utc, ahead_ms) = utc_ahead_ms();
    assert_eq!(utc.clock, Clock::Arrival, "an hour off is not believed");
    assert!(ahead_ms.abs() < 2_000, "{ahead_ms} {utc:?}");
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_codec_is_another_connection() {
    let Some((mut server, house, camera)) = watched("door").await else { return };
    server.tell(r#"{"do":"codec","mount":"door","codec":"h265"}"#);
    until("a second run", || house.runs().len() == 2, || format!("{:?}", house.runs())).await;
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_refuses_is_asked_again_and_again() {
    let Some((mut server, house, camera)) = watched("door").await else { return };
    server.tell(r#"{"do":"refuse","on":true}"#);
    server.tell(r#"{"do":"reset"}"#);
    house.until(&camera, has_failed).await;
    let failures = || house.status(&camera).unwrap().counts.failures;
    until("attempts", || failures() >= 3, || failures().to_string()).await;
    server.tell(r#"{"do":"refuse","on":false}"#);
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_and_tried_again() {
    let Some(house) = House::open(Plan::default()) else { return };
    for (id, uri, words) in [
        ("device", "v4l2:///dev/video-that-is-not-there", "has nothing at this path"),
        ("file", "/no/such/file.mp4", "has nothing at this path"),
        ("http", "http://127.0.0.1:9/live.m3u8", "refuses connections on port 9"),
    ] {
        let camera = camera(id, uri);
        house.watch.set(camera.clone());
        house.until(&camera, has_failed).await;
        let why = house.status(&camera).unwrap().state.to_string();
        assert!(why.contains(words), "{id}: {why}");
        house.watch.remove(&camera.source_id).await;
    }
}
