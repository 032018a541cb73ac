//! Another model for what cameras filmed.

use footage_tests::rtsp::RtspServer;
use footage_tests::twin_model;
use serde_json::Value;

use crate::installation::Installation;

/// What is found of a camera: begin, end and score of each moment.
fn found(house: &Installation, model: &[&str], words: &str) -> Vec<[f64; 3]> {
    let search = ["search", words, "--all", "--by", "video", "--source", "gate", "--json"];
    let reply = house.json(&[model, &search].concat());
    let moments = reply["moments"].as_array().unwrap().iter();
    let of =
        |moment: &Value| ["from_s", "to_s", "score"].map(|name| moment[name].as_f64().unwrap());
    let mut found: Vec<_> = moments.map(of).collect();
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

#[test]
fn what_a_camera_filmed_is_found_by_another_model_as_far_as_it_was_recorded() {
    let camera = RtspServer::start(&["gate=test:ball,gop=10", "yard=test:ball,gop=10"]);
    let mut house = Installation::new()
        .set("FOOTAGE__RECORD__FRAGMENT_S", "2")
        .set("FOOTAGE__RECORD__MIN_FREE_MIB", "0");
    house.ok(&["source", "add", "gate", &camera.url("gate"), "--record"]);
    house.ok(&["source", "add", "yard", &camera.url("yard")]);
    house.watch();
    for _ in 0..6 {
        house.until_more_clips("gate");
    }
    house.until_more_clips("yard");
    let busy = house.run(&["model", "migrate", "--to", "bundled"]);
    assert!(busy.code == Some(2) && busy.err.contains("in use"), "{busy:?}");
    house.stop();
    let (gate, yard) = (house.clips("gate"), house.clips("yard"));
    let sentences = ["a dog", "a white ball", "a red car moving left"];
    let before = sentences.map(|words| found(&house, &[], words));

    let twin = twin_model(&house.folder().join("twin"));
    let built =
        house.run(&["model", "migrate", "--to", &twin, "--switch", "--accept-lost", "--json"]);
    assert_eq!(built.code, Some(1), "{built:?}");
    let built: Value = serde_json::from_str(&built.out).unwrap();
    let (made, lost) =
        (built["clips"]["embedded"].as_u64().unwrap(), built["clips"]["lost"].as_u64().unwrap());
    assert_eq!(made + lost, gate + yard, "every clip is one of them: {built}");
    // Nothing is kept of the yard. Of the gate, a clip at either end may reach beyond the recording.
    assert!((yard..=yard + 2).contains(&lost), "{built}: {gate} of the gate, {yard} of the yard");

    let model = ["--model", twin.as_str()];
    for (words, before) in sentences.iter().zip(before) {
        let after = found(&house, &model, words);
        let best = |found: &[[f64; 3]]| found.iter().map(|f| f[2]).fold(f64::MIN, f64::max);
        let (before, after) = (best(&before), best(&after));
        assert!((before - after).abs() < 0.02, "{words}: {before} {after}");
    }
    let coverage = house.json(&[&model[..], &["coverage", "yard", "--json"]].concat()).to_string();
    assert!(coverage.contains("footage-gone"), "{coverage}");
    let runs = |model: &[&str]| house.json(&[model, &["coverage", "gate", "--json"]].concat());
    assert!(!runs(&model)["runs"].as_array().unwrap().is_empty());
}
