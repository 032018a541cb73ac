//! The cameras that the tests of live sources talk to are what they say: a plain `GStreamer` client
//! sees their pictures, and sees every fault that they are told to have.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use footage_tests::rtsp::RtspServer;
use footage_tests::vlc::VlcServer;
use gst::prelude::*;

#[path = "support/viewer.rs"]
mod viewer;
use viewer::{End, Look, Picture, Viewer};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must come to call it silence; pictures come every 100 ms.
const SILENCE: Duration = Duration::from_secs(2);

fn over(transport: &str, url: String) -> Look<'_> {
    Look { url, transport, ..Look::default() }
}

fn watch(server: &RtspServer) -> Viewer {
    let viewer = Viewer::pictures(&over("tcp", server.url("cam")));
    assert!(viewer.next(PATIENCE).is_some(), "no picture: {:?}", viewer.end(Duration::ZERO));
    viewer
}

/// The first `count` pictures.
fn see(look: &Look, count: usize) -> Vec<Picture> {
    let viewer = Viewer::pictures(look);
    let picture = |_| {
        let picture = viewer.picture(PATIENCE);
        picture.unwrap_or_else(|| panic!("no picture: {:?}", viewer.end(Duration::ZERO)))
    };
    (0..count).map(picture).collect()
}

/// The error with which a client is turned away.
fn turned_away(look: &Look) -> String {
    match Viewer::pictures(look).end(PATIENCE) {
        Some(End::Error(error)) => error,
        other => panic!("not turned away: {other:?}"),
    }
}

/// Whether no picture comes for a while, after those that are on their way.
fn falls_silent(viewer: &Viewer) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if viewer.next(SILENCE).is_none() {
            return true;
        }
    }
    false
}

fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn pictures_arrive_over_tcp_and_udp_in_both_codecs() {
    let server = RtspServer::start(&["cam=test:ball", "new=test:ball,codec=h265,size=160x120"]);
    for transport in ["tcp", "udp"] {
        for (mount, size) in [("cam", (320, 240)), ("new", (160, 120))] {
            let pictures = see(&over(transport, server.url(mount)), 10);
            assert!(pictures.iter().all(|picture| picture.size == size), "{transport} {mount}");
            assert_ne!(pictures[0].luma, pictures[9].luma, "the ball moves");
        }
    }
}

#[test]
fn a_file_is_served_as_it_is_or_in_the_asked_form() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    film(&file);
    let file = file.display();
    let server =
        RtspServer::start(&[&format!("cam={file}"), &format!("small={file},size=96x64,fps=5")]);
    assert_eq!(see(&over("tcp", server.url("cam")), 3)[0].size, (192, 128));
    assert_eq!(see(&over("tcp", server.url("small")), 3)[0].size, (96, 64));
}

#[test]
fn a_second_server_that_is_not_gstreamer_is_watched_over_udp() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    film(&file);
    let Some(server) = VlcServer::start(&file) else { return };
    assert_eq!(see(&over("udp", server.url()), 10)[0].size, (192, 128));
    turned_away(&over("tcp", server.url()));
}

/// Four seconds of H.264 in MP4, 192x128.
fn film(path: &Path) {
    gst::init().unwrap();
    let film = "videotestsrc num-buffers=60 ! video/x-raw,format=I420,width=192,height=128,\
                framerate=15/1 ! x264enc speed-preset=ultrafast key-int-max=15 ! mp4mux ! \
                filesink name=file";
    let pipeline: gst::Pipeline = gst::parse::launch(film).unwrap().downcast().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path);
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::try_from(PATIENCE).unwrap(), &ends).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn only_who_knows_the_password_is_let_in_by_digest_or_basic() {
    for basic in [false, true] {
        let setup = RtspServer::of(&["cam"]).credentials("ann", "first");
        let mut server = if basic { setup.basic() } else { setup }.start();
        let look = |password| Look {
            credentials: Some(("ann", password)),
            ..over("tcp", server.url("cam"))
        };
        let (first, second) = (look("first"), look("second"));
        let nobody = Look { credentials: None, ..first.clone() };
        assert!(turned_away(&nobody).contains("Unauthorized"));
        assert!(turned_away(&second).contains("Unauthorized"));
        see(&first, 1);
        server.password("second");
        assert!(turned_away(&first).contains("Unauthorized"));
        see(&second, 1);
    }
}

#[test]
fn tls_is_trusted_with_its_authority_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RtspServer::of(&["cam"]).tls(folder.path()).start();
    let ca = server.ca().unwrap().to_owned();
    let trusting = Look { ca: Some(&ca), ..over("tcp", server.url("cam")) };
    assert!(trusting.url.starts_with("rtsps://"));
    see(&trusting, 3);
    turned_away(&Look { ca: None, ..trusting.clone() });

    server.die();
    server.start_again();
    see(&trusting, 1);
}

#[test]
fn a_certificate_that_expired_or_names_another_host_is_refused() {
    for flaw in ["expired", "other-host"] {
        let folder = tempfile::tempdir().unwrap();
        let server = RtspServer::of(&["cam"]).tls(folder.path()).flaw(flaw).start();
        let ca = server.ca().unwrap();
        turned_away(&Look { ca: Some(ca), ..over("tcp", server.url("cam")) });
    }
}

#[test]
fn a_stalled_camera_is_silent_but_connected_and_comes_back() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.stall("cam");
    assert!(falls_silent(&viewer));
    assert_eq!(server.connections(), 1);
    assert!(viewer.end(Duration::ZERO).is_none());
    server.resume("cam");
    assert!(viewer.next(PATIENCE).is_some());
}

#[test]
fn a_camera_that_dies_ends_the_stream_and_lives_again_on_its_port() {
    for transport in ["tcp", "udp"] {
        let mut server = RtspServer::start(&["cam"]);
        let viewer = Viewer::pictures(&over(transport, server.url("cam")));
        assert!(viewer.next(PATIENCE).is_some());
        server.die();
        assert!(viewer.end(PATIENCE).is_some(), "{transport}");
        let port = server.port();
        turned_away(&over(transport, server.url("cam")));
        server.start_again();
        assert_eq!(server.port(), port);
        see(&over(transport, server.url("cam")), 1);
    }
}

#[test]
fn a_new_size_arrives_in_the_same_stream() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.resize("cam", 160, 96);
    until(|| viewer.picture(PATIENCE).unwrap().size == (160, 96));
    assert_eq!(server.connections(), 1);
    assert!(viewer.end(Duration::ZERO).is_none());
}

#[test]
fn a_new_frame_rate_arrives_in_the_same_stream() {
    let mut server = RtspServer::start(&["cam=test:ball,fps=5"]);
    let viewer = watch(&server);
    server.fps("cam", 25);
    let steps = |viewer: &Viewer| -> Vec<gst::ClockTime> {
        let samples = (0..10).map(|_| viewer.next(PATIENCE).unwrap());
        let times: Vec<_> = samples.map(|sample| sample.buffer().unwrap().pts().unwrap()).collect();
        times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
    };
    until(|| steps(&viewer).iter().all(|step| *step < gst::ClockTime::from_mseconds(80)));
    assert!(viewer.end(Duration::ZERO).is_none());
}

#[test]
fn a_new_codec_ends_the_stream_and_is_there_for_who_asks_anew() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.codec("cam", "h265");
    assert!(matches!(viewer.end(PATIENCE), Some(End::Eos)));
    let viewer = Viewer::packets(&over("tcp", server.url("cam")));
    let sample = viewer.next(PATIENCE).unwrap();
    let name: String = sample.caps().unwrap().structure(0).unwrap().get("encoding-name").unwrap();
    assert_eq!(name, "H265");
}

#[test]
fn sender_reports_carry_the_time_of_day_and_follow_a_step_of_the_clock() {
    /// From 1900, where NTP begins, to 1970.
    const NTP_TO_UNIX: f64 = 2_208_988_800.0;
    let mut server = RtspServer::start(&["cam"]);
    let ahead = |server: &RtspServer| {
        let viewer = Viewer::packets(&over("tcp", server.url("cam")));
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no sender report came");
            let sample = viewer.next(PATIENCE).unwrap();
            let Some(meta) = sample.buffer().unwrap().meta::<gst::ReferenceTimestampMeta>() else {
                continue;
            };
            assert!(meta.reference().is_subset(&gst::Caps::new_empty_simple("timestamp/x-ntp")));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            return meta.timestamp().nseconds() as f64 / 1e9 - NTP_TO_UNIX - now;
        }
    };
    assert!(ahead(&server).abs() < 5.0);
    for (step, sum) in [(3600.0, 3600.0), (-7200.0, -3600.0)] {
        server.clock_jump("cam", step);
        let ahead = ahead(&server);
        assert!((ahead - sum).abs() < 5.0, "{ahead} s after a step of {step} s");
    }
}

#[test]
fn garbage_spoils_the_pictures_for_a_while() {
    let mut server = RtspServer::start(&["cam=test:still"]);
    let viewer = watch(&server);
    let clean = viewer.picture(PATIENCE).unwrap();
    let is_clean = |picture: &Picture| {
        let differences = picture.luma.iter().zip(&clean.luma).map(|(a, b)| a.abs_diff(*b));
        let sum: u64 = differences.map(u64::from).sum();
        picture.size == clean.size && sum < 2 * clean.luma.len() as u64
    };
    server.garbage("cam", 4.0);
    let start = Instant::now();
    let mut good = 0;
    while let Some(left) = Duration::from_secs(4).checked_sub(start.elapsed()) {
        good += usize::from(viewer.picture(left).is_some_and(|picture| is_clean(&picture)));
    }
    assert!(good < 30, "{good} of 40 pictures were clean");
    let start = Instant::now();
    let mut row = 0;
    while row < 10 {
        assert!(start.elapsed() < PATIENCE, "no clean pictures after the garbage");
        row = if is_clean(&viewer.picture(PATIENCE).unwrap()) { row + 1 } else { 0 };
    }
}

/// Sequence number and timestamp of an RTP packet (RFC 3550, 5.1).
fn rtp(sample: &gst::Sample) -> (u16, u32) {
    let bytes = sample.buffer().unwrap().map_readable().unwrap();
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (word(0) as u16, word(4))
}

#[test]
fn a_delay_makes_a_pause_that_the_timestamps_do_not_know() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = Viewer::packets(&over("tcp", server.url("cam")));
    assert!(viewer.next(PATIENCE).is_some());
    server.delay("cam", 1500);
    let start = Instant::now();
    let mut last = viewer.next(PATIENCE).map(|sample| (Instant::now(), rtp(&sample).1)).unwrap();
    loop {
        assert!(start.elapsed() < PATIENCE, "no pause came");
        let timestamp = rtp(&viewer.next(PATIENCE).unwrap()).1;
        let pause = last.0.elapsed();
        if pause > Duration::from_secs(1) {
            // 90 kHz; pictures are 100 ms apart.
            assert_eq!(timestamp.wrapping_sub(last.1).div_ceil(100), 90);
            return;
        }
        last = (Instant::now(), timestamp);
    }
}

#[test]
fn a_fifth_of_the_packets_is_lost_when_asked() {
    let mut server = RtspServer::start(&["cam=test:ball,fps=30"]);
    server.loss("cam", 20);
    let viewer = Viewer::packets(&over("udp", server.url("cam")));
    let packets: Vec<u16> = (0..300).map(|_| rtp(&viewer.next(PATIENCE).unwrap()).0).collect();
    let sent = packets.windows(2).map(|pair| u32::from(pair[1].wrapping_sub(pair[0]))).sum::<u32>();
    let lost = 1.0 - 299.0 / f64::from(sent);
    assert!((0.1..0.3).contains(&lost), "{lost}");
}

#[test]
fn a_refusing_camera_keeps_its_clients_and_takes_no_more() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.refuse(true);
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    turned_away(&over("tcp", server.url("cam")));
    assert!(viewer.during(Duration::from_secs(1)).len() > 1);
    server.refuse(false);
    see(&over("tcp", server.url("cam")), 1);
}

#[test]
fn a_reset_ends_the_stream_and_a_new_connection_is_served() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.reset();
    assert!(viewer.end(PATIENCE).is_some());
    see(&over("tcp", server.url("cam")), 1);
}

#[test]
fn a_frozen_connection_is_silent_for_ever_and_a_new_one_is_served_after_the_thaw() {
    let mut server = RtspServer::start(&["cam"]);
    let viewer = watch(&server);
    server.freeze();
    assert!(falls_silent(&viewer));
    assert!(viewer.end(Duration::ZERO).is_none());
    assert_eq!(server.connections(), 1);
    server.thaw();
    see(&over("tcp", server.url("cam")), 1);
    assert!(viewer.next(SILENCE).is_none());
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let mut server = RtspServer::start(&["cam"]);
    for _ in 0..3 {
        let viewer = watch(&server);
        assert_eq!(server.connections(), 1);
        drop(viewer);
        until(|| server.connections() == 0);
    }
}

#[test]
fn two_clients_see_one_camera() {
    let mut server = RtspServer::start(&["cam"]);
    let (one, other) = (watch(&server), watch(&server));
    assert_eq!(server.connections(), 2);
    drop(one);
    assert!(other.during(Duration::from_secs(1)).len() > 1);
}
