//! Cameras end to end: a real RTSP server that fails on command, a real model, and the invariant that
//! every instant is accounted for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use footage_clip::{Clock, LostReason, RunCause};
use footage_pipeline::{
    CameraState, Clocks, Credentials, ElasticSettings, Fragments, LiveDecode, LiveError, Location,
    NoveltySettings, RecordingSettings, RecordingSpec, SystemClocks, Transport,
};
use support::house::{House, Log, Past, Plan, camera, has_failed, is_live, until};
use support::server::Server;
use tokio::time::sleep;

const S: u64 = 1_000_000_000;

fn wall_ns() -> u64 {
    SystemClocks::default().wall_ns().unsigned_abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_carry_the_cameras_own_time() {
    let Some(server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let began_ns = wall_ns();
    house.watch.set(camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port)));
    let of_sender = |clip: &footage_clip::ClipRecord| {
        clip.span.utc.is_some_and(|utc| utc.clock == Clock::RtcpSenderReport)
    };
    let enough = || house.clips().iter().filter(|clip| of_sender(clip)).count() > 3;
    until("clips by the sender's clock", enough, || format!("{:?}", house.clips().len())).await;
    let (first, last) = house.conserved();
    assert!(first >= began_ns && last <= wall_ns() + S, "the axis is the wall clock's");
    assert_eq!(house.runs().iter().map(|run| run.cause).collect::<Vec<_>>(), [RunCause::Started]);
    for clip in house.clips() {
        let utc = clip.span.utc.unwrap();
        let off_ns = utc.unix_ns.abs_diff(i64::try_from(clip.span.start_ns).unwrap());
        assert!(off_ns < 2 * S && utc.uncertainty_ms <= 2000, "{utc:?} off by {off_ns}");
        assert!(clip.thumbnail.is_some());
    }
    assert!(house.clips().windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_is_live_again() {
    let Some(server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let port = server.port;
    let camera = camera("door", &format!("rtsp://127.0.0.1:{port}/door"));
    house.watch.set(camera.clone());
    house.more_clips(3).await;
    drop(server);
    house.until(&camera, has_failed).await;
    sleep(Duration::from_secs(2)).await;
    let failed = house.status(&camera).unwrap();
    assert!(failed.state.to_string().contains("refuses connections on port"), "{}", failed.state);
    let _server = Server::start(&["--port", &port.to_string(), "door"]).unwrap();
    house.until(&camera, is_live).await;
    house.more_clips(3).await;
    let causes: Vec<_> = house.runs().iter().map(|run| run.cause).collect();
    assert_eq!(causes, [RunCause::Started, RunCause::Reconnected]);
    let lost = house.lost();
    let away = lost.iter().filter(|(_, reason)| *reason == LostReason::Disconnected);
    assert!(away.map(|(span, _)| span.duration_ns()).sum::<u64>() > 2 * S, "{lost:?}");
    assert_eq!(house.status(&camera).unwrap().counts.reconnects, 1);
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_falls_silent_is_stalled_then_connected_anew() {
    let Some(mut server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let camera = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    house.watch.set(camera.clone());
    house.more_clips(2).await;
    server.tell(r#"{"do":"stall","mount":"door"}"#);
    house.until(&camera, |state| *state == CameraState::Stalled).await;
    server.tell(r#"{"do":"resume","mount":"door"}"#);
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    assert_eq!(house.runs().last().unwrap().cause, RunCause::Resumed);
    assert_eq!(house.lost().last().unwrap().1, LostReason::Stalled);

    server.tell(r#"{"do":"stall","mount":"door"}"#);
    house.until(&camera, |state| *state == CameraState::Failed(LiveError::Silent)).await;
    server.tell(r#"{"do":"resume","mount":"door"}"#);
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    assert_eq!(house.runs().last().unwrap().cause, RunCause::Reconnected);
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_size_or_rate_begins_a_run_and_no_error() {
    let Some(mut server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let camera = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    house.watch.set(camera.clone());
    house.more_clips(2).await;
    server.tell(r#"{"do":"resize","mount":"door","width":160,"height":120}"#);
    let runs = |count| move |house: &House| house.runs().len() == count;
    until("a second run", || runs(2)(&house), || format!("{:?}", house.runs())).await;
    house.more_clips(2).await;
    assert_eq!(house.runs().last().unwrap().cause, RunCause::FormatChanged);
    assert_eq!(house.status(&camera).unwrap().counts.reconnects, 0, "{:?}", house.runs());
    assert_eq!(house.lost().iter().filter(|(_, why)| *why != LostReason::Disconnected).count(), 0);
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_again_and_told_and_never_shown() {
    let args = ["--user", "admin", "--password", "right-0ne", "door"];
    let Some(server) = Server::start(&args) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let uri = format!("rtsp://admin:hunter2-s3cret@127.0.0.1:{}/door?token=t0psecret", server.port);
    let mut camera = camera("door", &uri);
    house.watch.set(camera.clone());
    house.until(&camera, |state| *state == CameraState::Failed(LiveError::Unauthorised)).await;
    let failures = || house.status(&camera).unwrap().counts.failures;
    until("attempts", || failures() >= 3, || failures().to_string()).await;
    let statuses = format!("{:?}", *house.watch.status().borrow());

    let (user, password) = ("admin".to_owned(), "right-0ne".to_owned());
    camera.credentials = Some(Credentials { user, password });
    camera.location = Location::parse(&format!("rtsp://127.0.0.1:{}/door", server.port)).unwrap().0;
    house.watch.set(camera.clone());
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
    for secret in ["hunter2-s3cret", "t0psecret", "right-0ne"] {
        assert!(!statuses.contains(secret), "{statuses}");
        assert!(!format!("{:?}{:?}", house.all(), house.watch).contains(secret));
        assert!(!Log::text().contains(secret), "in the log");
    }
    assert!(Log::text().contains("refuses this user and password"), "the log was listened to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_checked_and_what_is_wrong_with_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let tls = dir.path().to_str().unwrap();
    let Some(server) = Server::start(&["--tls", tls, "door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let mut camera = camera("door", &format!("rtsps://127.0.0.1:{}/door", server.port));
    house.watch.set(camera.clone());
    let is_refused =
        |state: &CameraState| matches!(state, CameraState::Failed(LiveError::Certificate(_)));
    house.until(&camera, is_refused).await;
    let why = house.status(&camera).unwrap().state.to_string();
    assert!(why.contains("nobody known here signed it") && why.contains("tls_ca"), "{why}");
    camera.tls_ca.clone_from(&server.ca);
    house.watch.set(camera.clone());
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_that_loses_packets_goes_on() {
    let Some(mut server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let mut camera = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    camera.transport = Transport::Udp;
    house.watch.set(camera.clone());
    house.more_clips(2).await;
    server.tell(r#"{"do":"loss","mount":"door","percent":20}"#);
    sleep(Duration::from_secs(6)).await;
    server.tell(r#"{"do":"loss","mount":"door","percent":0}"#);
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_sends_over_udp_alone_is_reached_unless_tcp_is_insisted_on() {
    let Some(server) = Server::start(&["door=test:ball,carrier=udp"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let mut camera = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    camera.transport = Transport::Tcp;
    house.watch.set(camera.clone());
    let is_refused =
        |state: &CameraState| matches!(state, CameraState::Failed(LiveError::Transport));
    house.until(&camera, is_refused).await;
    let why = house.status(&camera).unwrap().state.to_string();
    assert!(why.contains("choose another `transport`"), "{why}");
    camera.transport = Transport::Auto;
    house.watch.set(camera.clone());
    house.until(&camera, is_live).await;
    house.more_clips(2).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_name_and_a_path_without_a_camera_are_told() {
    let Some(server) = Server::start(&["door"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let nowhere = camera("nowhere", "rtsp://no-such-host.invalid/x");
    let wrong = camera("wrong", &format!("rtsp://127.0.0.1:{}/window", server.port));
    house.watch.set(nowhere.clone());
    house.watch.set(wrong.clone());
    house.until(&nowhere, has_failed).await;
    house.until(&wrong, has_failed).await;
    let why = |camera| house.status(camera).unwrap().state.to_string();
    assert!(why(&nowhere).contains("`no-such-host.invalid`"), "{}", why(&nowhere));
    assert!(why(&wrong).contains("nothing at this path"), "{}", why(&wrong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_camera_is_changed_and_removed_while_another_plays_on() {
    let Some(server) = Server::start(&["door", "yard"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let of = |name: &str| camera(name, &format!("rtsp://127.0.0.1:{}/{name}", server.port));
    let (mut door, yard) = (of("door"), of("yard"));
    house.watch.set(yard.clone());
    house.watch.set(door.clone());
    house.until(&door, is_live).await;
    house.until(&yard, is_live).await;
    door.decode = LiveDecode::Keyframes;
    house.watch.set(door.clone());
    house.until(&door, is_live).await;
    house.watch.remove(&door.source_id).await;
    assert!(house.status(&door).is_none());
    house.watch.set(door.clone());
    house.until(&door, is_live).await;
    let has_yard = || house.clips().iter().any(|clip| clip.source_id == yard.source_id);
    until("a clip of the yard", has_yard, || format!("{:?}", house.runs())).await;
    let yard_runs = house.runs().iter().filter(|run| run.source_id == yard.source_id).count();
    assert_eq!(yard_runs, 1, "{:?}", house.runs());
    assert_eq!(house.status(&yard).unwrap().counts.reconnects, 0);
    house.watch.remove(&yard.source_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_goes_on_where_an_earlier_watch_stopped() {
    let Some(server) = Server::start(&["door"]) else { return };
    let stopped_ns = wall_ns() - 100 * S - 17;
    let door = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    let past = Past::default();
    past.0.lock().unwrap().insert(door.source_id.clone(), stopped_ns);
    let Some(house) = House::open(Plan { past, ..Plan::default() }) else { return };
    house.watch.set(door.clone());
    house.more_clips(2).await;
    house.watch.remove(&door.source_id).await;
    house.watch.set(door.clone());
    house.more_clips(2).await;
    let (first, last) = house.conserved();
    assert_eq!(first, stopped_ns);
    let (span, reason) = house.lost()[0];
    assert_eq!(reason, LostReason::Stopped);
    assert!(span.duration_ns() >= 100 * S);
    let (now_ns, told) = (wall_ns(), house.stop().await);
    let end = told.conserved().1;
    let missing_ns = now_ns.saturating_sub(end);
    assert!(end >= last && missing_ns < S, "{} ms are missing", missing_ns / 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_still_scene_is_gated_and_hardly_decoded_and_recorded_whole() {
    let Some(server) = Server::start(&["still=test:still,fps=20,gop=40"]) else { return };
    let Some(house) = House::open(Plan::default()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut still = camera("still", &format!("rtsp://127.0.0.1:{}/still", server.port));
    still.novelty = Some(NoveltySettings::default());
    let still_after = Duration::from_secs(2);
    still.decode =
        LiveDecode::Elastic(ElasticSettings { still: still_after, ..Default::default() });
    let settings = RecordingSettings { fragment: Duration::from_secs(4), ..Default::default() };
    still.recording = Some(RecordingSpec { dir: dir.path().to_owned(), settings });
    house.watch.set(still.clone());
    let rests = || {
        let status = house.status(&still)?;
        let decoding = status.decoding?;
        Some(status.counts.gated_clips > 20 && decoding.left_out > decoding.decoded)
    };
    until("to rest", || rests() == Some(true), || format!("{:?}", house.status(&still))).await;
    let status = house.status(&still).unwrap();
    let decoding = status.decoding.unwrap();
    assert_eq!((status.recording_failure, status.counts.runs), (None, 1));
    let (recorded, clips) = (status.recorded.unwrap(), house.clips());
    assert!(recorded.pictures > decoding.decoded, "{recorded:?}");
    let told = house.stop().await;
    let (_, end_ns) = told.conserved();
    let fragments = Fragments::open(dir.path());
    for clip in clips.iter().skip(2) {
        let media = clip.media.as_ref().unwrap();
        assert!(media.begins_ns <= clip.span.start_ns && Path::new(&media.path).exists());
    }
    let kept = fragments.at(end_ns - 2 * S).unwrap();
    assert!(kept.is_some(), "not recorded to {end_ns}: {:?}", fragments.all());
}

/// The system's clocks, with a wall clock that can be set.
struct SetClock {
    clocks: SystemClocks,
    off_ns: AtomicI64,
}

impl Clocks for SetClock {
    fn wall_ns(&self) -> i64 {
        self.clocks.wall_ns() + self.off_ns.load(Ordering::Relaxed)
    }

    fn steady_ns(&self) -> u64 {
        self.clocks.steady_ns()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_by_an_hour_either_way_leaves_no_hole() {
    let Some(server) = Server::start(&["door"]) else { return };
    let off_ns = AtomicI64::new(0);
    let clocks = Arc::new(SetClock { clocks: SystemClocks::default(), off_ns });
    let plan = Plan { clocks: clocks.clone(), ..Plan::default() };
    let Some(house) = House::open(plan) else { return };
    house.watch.set(camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port)));
    house.more_clips(2).await;
    let hour_ns = 3600 * S.cast_signed();
    for (off_ns, runs) in [(hour_ns, 2), (0, 3)] {
        clocks.off_ns.store(off_ns, Ordering::Relaxed);
        until("a run", || house.runs().len() == runs, || format!("{:?}", house.runs())).await;
        house.more_clips(3).await;
        assert_eq!(house.runs().last().unwrap().cause, RunCause::ClockSet);
    }
    let starts: Vec<u64> = house.runs().iter().map(|run| run.start_ns).collect();
    assert!(starts[1] - starts[0] > 3590 * S && starts[2] > starts[1], "{starts:?}");
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_nothing_stops_no_camera_and_all_is_accounted_for_later() {
    let Some(server) = Server::start(&["door"]) else { return };
    let plan = Plan { topic: 2, ..Plan::default() };
    let Some(house) = House::deaf(plan) else { return };
    let door = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    house.watch.set(door.clone());
    let seen_ns = || house.status(&door).map_or(0, |status| status.counts.seen_until_ns);
    until("a clip", || seen_ns() > 0, || "none".into()).await;
    let first_ns = seen_ns();
    // Longer than all the queues between the camera and the topic.
    until("the camera to go on", || seen_ns() > first_ns + 45 * S, || seen_ns().to_string()).await;
    assert!(is_live(&house.status(&door).unwrap().state));
    house.listen();
    house.more_clips(70).await;
    house.conserved();
    assert!(house.lost().iter().any(|(_, reason)| *reason == LostReason::Overload));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_at_its_own_pace_ends_or_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.avi");
    support::launch(
        "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,width=160,height=120,framerate=20/1 \
         ! jpegenc ! avimux ! filesink location=OUT",
        &path,
    );
    let Some(house) = House::open(Plan::default()) else { return };
    let mut once = camera("once", path.to_str().unwrap());
    let began = std::time::Instant::now();
    house.watch.set(once.clone());
    house.until(&once, |state| *state == CameraState::Ended).await;
    assert!(began.elapsed() > Duration::from_millis(2500), "at its own pace");
    house.watch.remove(&once.source_id).await;
    let (first, last) = house.conserved();
    // Its last picture may be cut short by what the sampling grid leaves.
    assert!(last - first > 5 * S / 2, "{} ns", last - first);
    once.location = Location::file(path, true).unwrap();
    house.watch.set(once.clone());
    until("to begin again", || house.runs().len() >= 4, || format!("{:?}", house.runs())).await;
    assert_eq!(house.runs().last().unwrap().cause, RunCause::TimestampsJumped);
    house.conserved();
}
