//! Cameras are described beside everything else, and by whoever asks later.

use std::time::Duration;

use footage_tests::rtsp::RtspServer;
use serde_json::Value;

use crate::installation::{Installation, until};
use crate::secrets::{free_port, metrics};
use crate::server::{Act, Server};

fn found(house: &Installation, words: &str) -> Vec<Value> {
    let found = house.json(&["search", words, "--by", "caption", "--json"]);
    found["moments"].as_array().unwrap().clone()
}

/// A count among the metrics of the watching process.
fn counted(port: u16, row: &str) -> u64 {
    let metrics = metrics(port);
    let row = metrics.lines().find(|line| line.starts_with(row));
    row.and_then(|row| row.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_camera_is_described_from_its_recording_and_the_rest_while_it_is_watched() {
    let camera = RtspServer::start(&["gate=test:ball,gop=10"]);
    // Slower than clips come.
    let slow = Act::Slowly(vec!["A white ", "ball bounces."], Duration::from_millis(700));
    let server = Server::start([slow]);
    let port = free_port();
    let mut house = Installation::new()
        .set("FOOTAGE__RECORD__ENABLED", "true")
        .set("FOOTAGE__RECORD__FRAGMENT_S", "4")
        .set("FOOTAGE__RECORD__MIN_FREE_MIB", "0")
        .set("FOOTAGE__METRICS__LISTEN", &format!("127.0.0.1:{port}"))
        .set("FOOTAGE__CAPTION__BY", &server.address)
        .set("FOOTAGE__CAPTION__EVERY_S", "8");
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    let moments = until(&format!("a caption\n{}", house.told()), || {
        Some(found(&house, "bouncing balls")).filter(|moments| !moments.is_empty())
    });
    assert_eq!(moments[0]["caption"], "A white ball bounces.");
    assert_eq!(moments[0]["kind"], "camera");
    until("a clip left to later", || {
        (counted(port, "footage_caption_left_clips_total{reason=\"pace\"}") > 0).then_some(())
    });
    assert!(counted(port, "footage_captions_total") > 0);

    // What was left is described by another process, through the one that watches.
    let asked = server.requests().len();
    let told = house.ok(&["caption", "--missing"]);
    assert!(told.starts_with("gate: ") && told.contains("described"), "{told}");
    assert!(server.requests().len() > asked);
    house.stop();
    assert!(house.told().contains("captions: "), "{}", house.told());
}

#[test]
fn a_camera_that_is_not_recorded_is_found_as_before_and_said_to_have_no_captions() {
    let camera = RtspServer::start(&["gate=test:ball,gop=10"]);
    let server = Server::start([Act::Say(vec!["A ball."])]);
    let mut house = Installation::new()
        .set("FOOTAGE__CAPTION__BY", &server.address)
        .set("FOOTAGE__CAPTION__EVERY_S", "0");
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    until("a word about it", || house.told().contains("nothing of it is captioned").then_some(()));
    assert!(house.clips("gate") > 0);
    let said = house.run(&["caption", "--missing"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("no footage of camera `gate` is kept"), "{said:?}");
    assert!(server.requests().is_empty());
    house.stop();
}
