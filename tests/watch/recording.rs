//! What cameras send is kept, whatever they send it in, and where it is not, everybody can see why.

use std::path::{Path, PathBuf};
use std::process::Command;

use footage_tests::rtsp::RtspServer;

use crate::installation::{Installation, until};
use crate::secrets::{free_port, metrics};

/// The fragments of a source that hold something.
fn fragments(house: &Installation, id: &str) -> Vec<PathBuf> {
    let Ok(folder) = fs_err::read_dir(house.data().join("footage").join(id)) else {
        return Vec::new();
    };
    let files = folder.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.metadata().is_ok_and(|file| file.len() > 0)).collect()
}

/// The codecs of fragments, as the boxes of their headers name them.
fn codecs(fragments: &[PathBuf]) -> Vec<&'static str> {
    let codec = |path: &PathBuf| {
        let bytes = fs_err::read(path).unwrap_or_default();
        let named = |name: &[u8]| bytes.windows(4).take(4096).any(|word| word == name);
        match (named(b"avc1"), named(b"hvc1")) {
            (true, false) => Some("h264"),
            (false, true) => Some("h265"),
            _ => None,
        }
    };
    fragments.iter().filter_map(codec).collect()
}

/// Pictures that another player finds in a file, without an error.
fn pictures_in(path: &Path) -> u64 {
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(probed.stderr.is_empty(), "{}", String::from_utf8_lossy(&probed.stderr));
    String::from_utf8(probed.stdout).unwrap().trim().parse().unwrap()
}

/// Watched as cameras are, not as the other tests do it: recorded, and decoded elastically or whole.
fn recording(decode: &str) -> Installation {
    Installation::new()
        .set("FOOTAGE__RECORD__ENABLED", "true")
        .set("FOOTAGE__LIVE__DECODE", decode)
        .set("FOOTAGE__RECORD__MIN_FREE_MIB", "0")
}

#[test]
fn h265_is_recorded_however_it_is_decoded_and_can_be_played() {
    let camera = RtspServer::start(&["gate=test:ball,codec=h265,gop=10"]);
    for decode in ["elastic", "all"] {
        let mut house = recording(decode);
        house.watch();
        house.ok(&["source", "add", "gate", &camera.url("gate")]);
        house.until_state("gate", "live");
        until(&format!("footage of H.265\n{}", house.told()), || {
            codecs(&fragments(&house, "gate")).contains(&"h265").then_some(())
        });
        house.until_more_clips("gate");
        house.stop();
        let kept = fragments(&house, "gate");
        assert!(!kept.is_empty(), "{decode}: {}", house.told());
        for path in kept {
            let pictures = pictures_in(&path);
            assert!(pictures >= 10, "{decode}: {pictures} pictures in {}", path.display());
        }
    }
}

#[test]
fn a_camera_that_changes_from_h264_to_h265_goes_on_being_recorded() {
    let mut camera = RtspServer::start(&["gate=test:ball,gop=10"]);
    let mut house = recording("elastic");
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    let kept_in = |codec: &'static str| {
        until(&format!("footage of {codec}\n{}", house.told()), || {
            codecs(&fragments(&house, "gate")).contains(&codec).then_some(())
        });
    };
    kept_in("h264");
    camera.codec("gate", "h265");
    kept_in("h265");
}

#[test]
fn h265_is_watched_and_recorded_by_whichever_decoder_there_is() {
    let camera = RtspServer::start(&["gate=test:ball,codec=h265,gop=10"]);
    for absent in ["libde265dec:0", "avdec_h265:0"] {
        let mut house = recording("all").set("GST_PLUGIN_FEATURE_RANK", absent);
        house.watch();
        house.ok(&["source", "add", "gate", &camera.url("gate")]);
        house.until_state("gate", "live");
        house.until_more_clips("gate");
        until(&format!("footage without {absent}\n{}", house.told()), || {
            codecs(&fragments(&house, "gate")).contains(&"h265").then_some(())
        });
    }
}

/// The value of a source's metric.
fn metric(told: &str, name: &str) -> Option<f64> {
    let row = format!("{name}{{source=\"gate\"}} ");
    told.lines().find_map(|line| line.strip_prefix(&row)?.parse().ok())
}

#[test]
fn what_is_recorded_is_counted_in_the_list_and_in_the_metrics_over_reconnects() {
    let mut camera = RtspServer::start(&["gate=test:ball,gop=10"]);
    let port = free_port();
    let mut house = recording("all").set("FOOTAGE__METRICS__LISTEN", &format!("127.0.0.1:{port}"));
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    let recorded = || {
        let recording = house.source("gate")?["live"]["recording"].clone();
        recording["pictures"].as_u64().filter(|pictures| *pictures > 0)
    };
    let first = until("pictures to be recorded", recorded);
    camera.reset();
    until("a reconnect", || {
        house.run_causes("gate").contains(&"reconnected".to_owned()).then_some(())
    });
    let then = until("more to be recorded", || recorded().filter(|then| *then > first + 30));
    let told = metrics(port);
    assert!(metric(&told, "footage_source_recorded_pictures_total").unwrap() >= then as f64);
    assert!(metric(&told, "footage_source_recorded_fragments_total").unwrap() >= 2.0, "{told}");
    assert!(metric(&told, "footage_source_recorded_bytes_total").unwrap() > 0.0, "{told}");
    assert_eq!(metric(&told, "footage_source_recording_failed"), Some(0.0), "{told}");
    let list = house.ok(&["source", "list"]);
    assert!(list.contains("MiB recorded"), "{list}");
}

#[test]
fn why_nothing_is_recorded_is_in_the_list_and_counted_in_the_metrics() {
    let camera = RtspServer::start(&["gate=test:ball,gop=10"]);
    let port = free_port();
    // No disk has so much room.
    let mut house = recording("all")
        .set("FOOTAGE__RECORD__MIN_FREE_MIB", "1000000000")
        .set("FOOTAGE__METRICS__LISTEN", &format!("127.0.0.1:{port}"));
    house.watch();
    house.ok(&["source", "add", "gate", &camera.url("gate")]);
    let failure = until("the failure to be told", || {
        let recording = house.source("gate")?["live"]["recording"].clone();
        let is_counted = recording["left_out_pictures"].as_u64() > Some(0);
        recording["failure"].as_str().filter(|_| is_counted).map(str::to_owned)
    });
    assert!(failure.contains("are to stay free"), "{failure}");
    let list = house.ok(&["source", "list"]);
    assert!(list.contains("live") && list.contains("not recorded: only"), "{list}");
    let told = metrics(port);
    assert_eq!(metric(&told, "footage_source_recording_failed"), Some(1.0), "{told}");
    assert!(metric(&told, "footage_source_left_out_pictures_total").unwrap() > 0.0, "{told}");
    assert_eq!(metric(&told, "footage_source_recorded_pictures_total"), Some(0.0), "{told}");
    // The camera is watched all the same.
    house.until_more_clips("gate");
}
