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

#[test]
fn a_still_scene_is_gated_recorded_and_played_from_its_fragments() {
    let camera = RtspServer::start(&["yard=test:still,gop=10"]);
    let mut house = Installation::new()
        .set("FOOTAGE__LIVE__GATE", "true")
        .set("FOOTAGE__LIVE__DECODE", "elastic")
        .set("FOOTAGE__RECORD__ENABLED", "true");
    house.ok(&["source", "add", "yard", &camera.url("yard")]);
    house.watch();
    until("clips to be gated", || {
        let yard = house.source("yard")?;
        (yard["gated_clips"].as_u64()? >= 4 && yard["indexed_clips"].as_u64()? >= 1).then_some(())
    });
    house.stop();
    let embedded = house.clips("yard");
    let gated = house.source("yard").unwrap()["gated_clips"].as_u64().unwrap();
    assert!(embedded <= gated, "{embedded} of a still scene were embedded, {gated} were not");
    // What is gated belongs to the moment that shows the same.
    let found = house.json(&["search", "a yard", "--all", "--json"]);
    let moment = &found["moments"][0];
    let play = moment["play"]["ffplay"].as_str().unwrap();
    let fragment = moment["file"].as_str().unwrap();
    assert!(fragment.contains("/footage/yard/") && play.contains(fragment), "{moment}");
    let probed = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-select_streams", "v"])
        .args(["-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", fragment])
        .output()
        .unwrap();
    let pictures = String::from_utf8(probed.stdout).unwrap();
    assert!(pictures.trim().parse::<u64>().unwrap() > 10, "{pictures}");
}
