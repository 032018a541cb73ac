//! Odd and malformed files, one by one through the real binary: each is indexed or named in one
//! clear line, within bounds of time and memory, and the run goes on with the others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use footage_tests::{Said, footage, real_footage, render, run};

const TIME_LIMIT: Duration = Duration::from_secs(90);
/// The bound that the documentation states, plus the model and the process itself.
const MEMORY_LIMIT_KIB: u64 = 1_400_000;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs `footage index` on one file; returns what it said and its peak memory in KiB.
fn index_within_bounds(data: &Path, file: &Path) -> (Said, u64) {
    let mut child = Command::new("setpriv")
        .arg("--pdeathsig=KILL")
        .arg(footage().get_program())
        .arg("--data-dir")
        .arg(data)
        .args(["index", "--"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let began = Instant::now();
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let now = fs_err::read_to_string(&status).unwrap_or_default();
        let high_water = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = high_water.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if began.elapsed() > TIME_LIMIT {
            child.kill().unwrap();
            panic!("{}: still running after {TIME_LIMIT:?}", file.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = Said { code: ended.code(), out: String::new(), err: String::new() };
    child.stdout.take().unwrap().read_to_string(&mut said.out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said.err).unwrap();
    (said, peak)
}

fn check_folder(name: &str) {
    let Some(folder) = real_footage(name) else { return };
    let data = tempfile::tempdir().unwrap();
    for file in files(&folder) {
        let (said, peak_kib) = index_within_bounds(data.path(), &file);
        let shown = file.file_name().unwrap().to_string_lossy().into_owned();
        let all = format!("{}{}", said.out, said.err);
        assert!(matches!(said.code, Some(0 | 1)), "{shown}: {said:?}");
        assert!(!all.contains("panicked") && !all.contains("CRITICAL"), "{shown}: {all}");
        assert!(peak_kib < MEMORY_LIMIT_KIB, "{shown}: {peak_kib} KiB");
        let named: Vec<_> = all.lines().filter(|line| line.contains(&shown)).collect();
        assert_eq!(named.len(), 1, "{shown} is named once: {all}");
        assert_eq!(said.code == Some(1), named[0].contains("failed"), "{shown}: {all}");
    }
}

#[test]
fn every_odd_variant_is_indexed_or_named_in_one_line() {
    check_folder("variants");
}

#[test]
fn every_hostile_file_is_indexed_or_named_in_one_line() {
    check_folder("hostile");
}

#[test]
fn a_playlist_that_calls_itself_a_video_opens_no_file_and_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 3, 1, 10);
    let victim = files(&videos).into_iter().find(|file| file.extension().unwrap() != "json");
    let victim = victim.unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/video.ts", server.local_addr().unwrap());

    let traps = folder.path().join("traps");
    fs_err::create_dir(&traps).unwrap();
    for (name, target) in [("file", format!("file://{}", victim.display())), ("url", url)] {
        let hls =
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n");
        fs_err::write(traps.join(format!("{name}-hls.mp4")), hls).unwrap();
        fs_err::write(traps.join(format!("{name}-list.mkv")), format!("{target}\n")).unwrap();
        let concat = format!("ffconcat version 1.0\nfile '{target}'\n");
        fs_err::write(traps.join(format!("{name}-concat.avi")), concat).unwrap();
    }
    let data = folder.path().join("data");
    let said = run(footage().arg("--data-dir").arg(&data).arg("index").arg(&traps));

    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(server.accept().is_err(), "a media file made us connect");
    let list = run(footage().arg("--data-dir").arg(&data).args(["source", "list", "--json"]));
    assert_eq!(list.code, Some(0), "{list:?}");
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(list["sources"], serde_json::json!([]), "a trap became a source");
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 3, 1, 10);
    fs_err::write(videos.join("a-broken.mp4"), b"this is no video").unwrap();
    let data = folder.path().join("data");

    let said = run(footage().arg("--data-dir").arg(&data).arg("index").arg(&videos));

    assert_eq!(said.code, Some(1), "{said:?}");
    let found =
        run(footage().arg("--data-dir").arg(&data).args(["search", "a dog", "--json", "--all"]));
    let found: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert!(!found["moments"].as_array().unwrap().is_empty());
}
