//! Sources come, change and go while others are watched.

use std::time::Duration;

use footage_tests::rtsp::RtspServer;

use crate::installation::{Installation, until};

#[test]
fn sources_are_added_changed_and_removed_while_others_go_on_untouched() {
    let camera = RtspServer::start(&["gate=test:ball", "yard=test:ball"]);
    let mut house = Installation::new();
    fs_err::write(
        house.folder().join("footage.toml"),
        format!("[sources.gate]\nuri = \"{}\"\n", camera.url("gate")),
    )
    .unwrap();
    house.watch();
    house.until_state("gate", "live");

    house.ok(&["source", "add", "yard", &camera.url("yard")]);
    house.until_state("yard", "live");
    house.until_more_clips("yard");
    // What is stated in a file is changed there.
    let refused = house.run(&["source", "remove", "gate", "--yes"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("footage.toml"), "{refused:?}");

    house.ok(&["source", "remove", "yard", "--yes"]);
    // What was under way when it was removed does not bring it back.
    std::thread::sleep(Duration::from_secs(3));
    assert!(house.source("yard").is_none());
    assert!(!house.data().join("footage").join("yard").exists());
    // The file is changed, and taken up.
    fs_err::write(
        house.folder().join("footage.toml"),
        format!(
            "[sources.gate]\nuri = \"{0}\"\n[sources.back]\nuri = \"{1}\"\n",
            camera.url("gate"),
            camera.url("yard")
        ),
    )
    .unwrap();
    house.until_state("back", "live");
    fs_err::write(
        house.folder().join("footage.toml"),
        format!("[sources.gate]\nuri = \"{}\"\n", camera.url("gate")),
    )
    .unwrap();
    until("back to be left", || (house.state("back") != "live").then_some(()));
    house.stop();
    assert_eq!(house.run_causes("gate"), ["started"], "it was left alone\n{}", house.told());
}

#[test]
fn a_source_that_cannot_be_is_named_at_the_start_and_keeps_no_other_from_being_watched() {
    let camera = RtspServer::start(&["gate=test:ball"]);
    let mut house = Installation::new();
    let stated = format!(
        "[sources.broken]\nuri = \"rtsp://cam/1\"\npassword_file = \"/no/such/file\"\n\
         [sources.remove]\nuri = \"{}\"\n",
        camera.url("gate")
    );
    fs_err::write(house.folder().join("footage.toml"), stated).unwrap();
    house.watch();
    // Any word may be a name.
    house.until_state("remove", "live");
    assert!(house.told().contains("`broken`"), "{}", house.told());
    house.ok(&["source", "add", "removals", &camera.url("gate")]);
    house.until_state("removals", "live");
}

#[test]
fn a_second_watch_on_the_same_data_directory_is_refused_and_harms_nothing() {
    let camera = RtspServer::start(&["gate=test:ball"]);
    let mut house = Installation::new();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    house.watch();
    let second = house.run(&["watch"]);
    assert_eq!(second.code, Some(2));
    assert!(second.err.contains("watched already"), "{second:?}");
    house.until_more_clips("gate");
}
