//! What befalls cameras: afterwards they are live again, without anybody's help, and every second
//! of theirs is accounted for.

use std::io::Write as _;
use std::time::Duration;

use footage_tests::rtsp::RtspServer;

use crate::installation::{Disk, Installation, until};

/// A watched camera that is live and has shown something.
fn watched(setup: footage_tests::rtsp::RtspSetup) -> (RtspServer, Installation) {
    let camera = setup.start();
    let mut house = Installation::new();
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    house.until_state("gate", "live");
    house.until_more_clips("gate");
    (camera, house)
}

fn moving() -> footage_tests::rtsp::RtspSetup {
    RtspServer::of(&["gate=test:ball,gop=10"])
}

/// Live again, with new clips, and nothing unaccounted for.
fn recovered(house: &mut Installation) {
    house.until_state("gate", "live");
    house.until_more_clips("gate");
    house.assert_running();
    house.timeline("gate");
}

#[test]
fn a_camera_that_dies_and_comes_back_is_live_again_and_its_absence_is_lost() {
    let (mut camera, mut house) = watched(moving());
    camera.die();
    until("the camera to be missed", || (house.state("gate") == "failed").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    camera.start_again();
    recovered(&mut house);
    house.stop();
    assert!(
        house.lost("gate").contains(&"disconnected".to_owned()),
        "{:?}",
        house.timeline("gate")
    );
    assert!(house.run_causes("gate").contains(&"reconnected".to_owned()));
}

#[test]
fn a_connection_reset_in_mid_frame_is_made_anew() {
    let (mut camera, mut house) = watched(moving());
    camera.reset();
    until("a new run", || {
        house.run_causes("gate").contains(&"reconnected".to_owned()).then_some(())
    });
    recovered(&mut house);
}

#[test]
fn silence_without_a_close_is_noticed_and_the_camera_is_connected_anew() {
    let (mut camera, mut house) = watched(moving());
    camera.freeze();
    until("the silence to be noticed", || (house.state("gate") != "live").then_some(()));
    camera.thaw();
    recovered(&mut house);
    house.stop();
    let lost = house.lost("gate");
    let is_told = |reason: &&String| ["stalled", "disconnected"].contains(&reason.as_str());
    assert!(lost.iter().any(|reason| is_told(&reason)), "{lost:?}");
}

#[test]
fn a_change_of_resolution_begins_a_new_run_and_is_no_failure() {
    let (mut camera, mut house) = watched(moving());
    camera.resize("gate", 640, 360);
    until("a new run", || {
        house.run_causes("gate").contains(&"format-changed".to_owned()).then_some(())
    });
    recovered(&mut house);
}

#[test]
fn garbage_on_the_wire_ends_and_the_camera_goes_on() {
    let (mut camera, mut house) = watched(moving());
    camera.garbage("gate", 4.0);
    std::thread::sleep(Duration::from_secs(4));
    recovered(&mut house);
}

#[test]
fn a_fifth_of_all_packets_lost_over_udp_leaves_a_camera_that_is_watched() {
    let mut camera = moving().start();
    let mut house = Installation::new();
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate"), "--transport", "udp"]);
    house.until_state("gate", "live");
    camera.loss("gate", 20);
    std::thread::sleep(Duration::from_secs(5));
    house.until_more_clips("gate");
    camera.loss("gate", 0);
    recovered(&mut house);
}

#[test]
fn the_cameras_clock_stepped_by_an_hour_begins_a_new_run() {
    for seconds in [3600.0, -3600.0] {
        let (mut camera, mut house) = watched(moving());
        camera.clock_jump("gate", seconds);
        until("a new run", || {
            house.run_causes("gate").contains(&"clock-set".to_owned()).then_some(())
        });
        recovered(&mut house);
    }
}

#[test]
fn a_wrong_password_is_said_and_the_right_one_is_taken_up_without_a_restart() {
    let camera = moving().credentials("viewer", "right-one").start();
    let mut house = Installation::new();
    house.watch();
    let wrong = house.folder().join("password");
    fs_err::write(&wrong, "wrong-one\n").unwrap();
    let file = wrong.to_str().unwrap();
    let add =
        ["source", "add", "gate", &camera.url("gate"), "--user", "viewer", "--password-file", file];
    house.ok(&add);
    house.until_state("gate", "failed");
    let reason = house.source("gate").unwrap()["live"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("password"), "{reason}");
    fs_err::write(&wrong, "right-one\n").unwrap();
    recovered(&mut house);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_until_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let camera = moving().tls(folder.path()).start();
    let mut house = Installation::new();
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    house.until_state("gate", "failed");
    let reason = house.source("gate").unwrap()["live"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("certificate"), "{reason}");
    let ca = camera.ca().unwrap().to_str().unwrap().to_owned();
    house.ok(&["source", "add", "gate", &camera.url("gate"), "--tls-ca", &ca]);
    recovered(&mut house);
}

#[test]
fn a_full_disk_is_waited_out_and_nothing_that_was_indexed_is_lost() {
    let Some(disk) = Disk::of_mib(400) else { return };
    let camera = moving().start();
    let mut house = Installation::in_folder(disk.path()).set("FOOTAGE__INDEX__MIN_FREE_MIB", "100");
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    house.until_more_clips("gate");
    let filler = house.folder().join("filler");
    let mut file = fs_err::File::create(&filler).unwrap();
    // Until less is left than the index leaves alone, at the latest at the disk's end.
    until("the disk to be full", || {
        drop(file.write_all(&vec![1; 8 << 20]));
        house.told().contains("nothing is indexed at present").then_some(())
    });
    house.assert_running();
    let before = house.clips("gate");
    drop(file);
    fs_err::remove_file(&filler).unwrap();
    recovered(&mut house);
    house.stop();
    assert!(house.clips("gate") > before, "{}", house.told());
    house.timeline("gate");
}

#[test]
fn a_name_that_is_not_known_is_said_and_keeps_no_other_source_from_being_watched() {
    let (_camera, mut house) = watched(moving());
    house.ok(&["source", "add", "nowhere", "rtsp://camera.invalid/1"]);
    house.until_state("nowhere", "failed");
    recovered(&mut house);
}
