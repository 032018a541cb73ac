//! What a camera shows is found while it is watched.

use footage_tests::rtsp::RtspServer;

use crate::installation::{Installation, until};

#[test]
fn what_a_camera_shows_is_found_within_seconds_while_it_is_watched() {
    let camera = RtspServer::start(&["gate=test:ball"]);
    let mut house = Installation::new();
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate"), "--label", "Front gate"]);
    house.until_state("gate", "live");
    house.until_more_clips("gate");

    let found = house.json(&["search", "a ball", "--all", "--since", "10m", "--json"]);
    let moment = &found["moments"][0];
    assert_eq!(
        (moment["source"].as_str(), moment["kind"].as_str()),
        (Some("Front gate"), Some("camera"))
    );
    let clock = moment["utc"]["clock"].as_str().unwrap();
    assert!(["arrival", "rtcp-sender-report"].contains(&clock), "{found}");
    assert!(moment["thumbnail"].as_str().is_some_and(|path| fs_err::metadata(path).is_ok()));
    let other = house.json(&["search", "a ball", "--all", "--source", "gate", "--json"]);
    assert!(!other["moments"].as_array().unwrap().is_empty());

    house.stop();
    // What was indexed can be searched when nobody watches any more.
    let later = house.json(&["search", "a ball", "--all", "--json"]);
    assert!(!later["moments"].as_array().unwrap().is_empty());
    assert_eq!(house.state("gate"), "not watched");
}

#[test]
fn a_file_is_played_as_if_it_were_a_camera() {
    let mut house = Installation::new();
    house.ok(&["synth", "--videos", "1", "--seconds", "12", "--seed", "3", "--out", "videos"]);
    let video = fs_err::read_dir(house.folder().join("videos"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "mp4"))
        .unwrap();
    house.ok(&["source", "add", "trial", video.to_str().unwrap(), "--live", "--loop"]);
    house.watch();
    until("two clips", || (house.clips("trial") >= 2).then_some(()));
    house.stop();
    assert!(house.timeline("trial").iter().any(|stretch| stretch.state == "indexed"));
}
