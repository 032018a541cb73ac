//! A password reaches the camera, and nothing else.

use std::process::Command;

use footage_tests::rtsp::RtspServer;

use crate::installation::{Installation, until};

const SECRET: &str = "Planted-Secret-5309";

#[test]
fn a_password_is_in_no_log_no_error_no_metric_no_answer_and_no_record() {
    let mut camera = RtspServer::of(&["gate=test:ball"]).credentials("viewer", SECRET).start();
    let mut house = Installation::new()
        .set("FOOTAGE_LOG", "debug")
        .set("FOOTAGE__RECORD__ENABLED", "true")
        .set("CAMERA_PASSWORD", SECRET)
        .set("GST_DEBUG", "rtspsrc:4");
    let port = free_port();
    house = house.set("FOOTAGE__METRICS__LISTEN", &format!("127.0.0.1:{port}"));
    let mut said = String::new();
    let url = camera.url("gate");
    said += &house.ok(&[
        "source",
        "add",
        "gate",
        &url,
        "--user",
        "viewer",
        "--password-env",
        "CAMERA_PASSWORD",
    ]);
    // A password inside the address, and one that is wrong.
    let inside = url.replace("rtsp://", &format!("rtsp://viewer:{SECRET}@"));
    let wrong = url.replace("rtsp://", &format!("rtsp://viewer:{SECRET}-wrong@"));
    house.watch();
    said += &house.ok(&["source", "add", "inside", &inside]);
    said += &house.ok(&["source", "add", "wrong", &wrong]);
    house.until_state("gate", "live");
    house.until_state("inside", "live");
    house.until_state("wrong", "failed");
    house.until_more_clips("gate");
    // Errors of every kind that GStreamer has.
    camera.reset();
    house.until_state("gate", "live");
    camera.die();
    house.until_state("gate", "failed");
    for args in [
        &["source", "list"][..],
        &["source", "list", "--json"],
        &["config"],
        &["config", "--json"],
        &["search", "a ball", "--all", "--json"],
        &["coverage", "gate", "--json"],
        &["coverage", "wrong"],
        &["source", "add", "broken", &format!("rtsp://viewer:{SECRET}@/nohost")],
        &["source", "add", "broken", &format!("gopher://viewer:{SECRET}@host/")],
    ] {
        let ran = house.run(args);
        said += &ran.out;
        said += &ran.err;
    }
    said += &metrics(port);
    house.stop();
    said += &house.told();
    assert!(said.contains("gate"));
    assert!(!said.contains(SECRET), "{}", lines_with(&said));

    // In the data directory it is where it is kept, and nowhere else.
    let kept = house.data().join("sources.toml");
    let grep = Command::new("grep").args(["-rlaF", SECRET]).arg(house.data()).output().unwrap();
    let files = String::from_utf8(grep.stdout).unwrap();
    let files: Vec<&str> = files.lines().filter(|file| *file != kept.to_str().unwrap()).collect();
    assert!(files.is_empty(), "{files:?}");
}

fn lines_with(said: &str) -> String {
    said.lines().filter(|line| line.contains(SECRET)).take(5).collect::<Vec<_>>().join("\n")
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What Prometheus would be told.
pub(crate) fn metrics(port: u16) -> String {
    use std::io::{Read as _, Write as _};
    until("the metrics", || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut told = String::new();
        stream.read_to_string(&mut told).ok()?;
        assert!(told.contains("footage_source_state{source=\"gate\""), "{told}");
        Some(told)
    })
}
