//! A camera's footage is asked about while it is watched.

use footage_tests::rtsp::RtspServer;

use crate::installation::{Installation, until};
use crate::server::{Act, Server};

#[test]
fn a_recorded_camera_is_asked_about_while_it_is_watched_and_an_unrecorded_one_says_why_not() {
    let camera = RtspServer::start(&["gate=test:ball,gop=10", "yard=test:ball,gop=10"]);
    let server = Server::start([Act::Say(vec!["A ball."])]);
    let mut house = Installation::new()
        .set("FOOTAGE__RECORD__FRAGMENT_S", "2")
        .set("FOOTAGE__ASK__ANSWERER", &server.address);
    house.ok(&["source", "add", "gate", &camera.url("gate"), "--record"]);
    house.ok(&["source", "add", "yard", &camera.url("yard")]);
    house.watch();
    house.until_state("gate", "live");
    house.until_more_clips("gate");
    house.until_more_clips("yard");

    let clip_of = |source: &str| {
        let found = house.json(&["search", "a ball", "--all", "--source", source, "--json"]);
        found["moments"][0]["clips"][0].as_str().unwrap().to_owned()
    };
    let clip = clip_of("gate");
    // The fragment that is being written may not be readable yet.
    let told = until("footage that can be read", || {
        let said = house.run(&["ask", &clip, "what is it?", "--json"]);
        serde_json::from_str::<serde_json::Value>(&said.out).ok()
    });
    assert_eq!(told["answer"], "A ball.");
    assert_eq!(told["evidence"]["source_id"], "gate");
    assert!(!told["evidence"]["frames_s"].as_array().unwrap().is_empty(), "{told}");

    let said = house.run(&["ask", &clip_of("yard"), "what is it?"]);
    assert!(said.code == Some(2) && said.err.contains("no footage of camera"), "{said:?}");
    let said = house.run(&["ask", "0b0e7c5e-6c3f-5c83-9c0e-2d6a3f1c9a55", "what?"]);
    assert!(said.err.contains("there is no clip"), "{said:?}");
    house.assert_running();
    house.stop();
}
