//! Models are pulled from a hub that behaves and from one that does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use footage_hub::{Hub, HubError, Patience, Published, PublishedFile, Store, Verified};
use sha2::{Digest as _, Sha256};
use support::{Fault, Server};
use tempfile::TempDir;

const WEIGHTS: &str = "/org/model/resolve/main/weights.bin";
const CONFIG: &str = "/org/model/resolve/main/config.json";

const FILES: [PublishedFile; 2] = [
    PublishedFile {
        repo: "org/model",
        revision: "main",
        path: "config.json",
        size: None,
        sha256: None,
    },
    PublishedFile {
        repo: "org/model",
        revision: "main",
        path: "weights.bin",
        size: None,
        sha256: None,
    },
];

const MODEL: Published = Published {
    name: "m",
    about: "for tests",
    licence: "Apache-2.0",
    parameters_m: 1.0,
    image: 1,
    dim: 1,
    msrvtt_r1: None,
    files: &FILES,
    config: None,
    is_whole: true,
};

fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
}

fn server() -> Server {
    let weights = weights();
    Server::new().small(CONFIG, b"{}").large(WEIGHTS, &weights, &sha256(&weights))
}

fn hub(server: &Server, token: Option<&str>) -> Hub {
    let patience = Patience {
        attempts: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_secs(3),
        answer: Duration::from_secs(10),
    };
    Hub::new(&server.endpoint(), token.map(str::to_owned), patience).unwrap()
}

fn pull(server: &Server, dir: &TempDir) -> Result<Vec<String>, HubError> {
    let manifest = Store::new(dir.path()).pull(&MODEL, &hub(server, None), &mut |_| ())?;
    Ok(manifest.files.into_iter().map(|file| file.sha256).collect())
}

fn pulled(dir: &TempDir) -> Vec<u8> {
    fs_err::read(dir.path().join("m/weights.bin")).unwrap()
}

fn ranges(server: &Server) -> Vec<String> {
    let seen = server.seen().into_iter();
    seen.filter(|seen| seen.at_storage).filter_map(|seen| seen.range).collect()
}

#[test]
fn a_model_is_pulled_checked_and_pulled_no_second_time() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let hashes = pull(&server, &dir).unwrap();
    assert_eq!(hashes, [sha256(b"{}"), sha256(&weights())]);
    assert_eq!(pulled(&dir), weights());
    let asked = server.seen().len();
    pull(&server, &dir).unwrap();
    assert_eq!(server.seen().len(), asked, "what is here is not asked for again");
    let mut names: Vec<_> = fs_err::read_dir(dir.path().join("m"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "pulled.json", "weights.bin"]);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let cuts = [Fault::Cut(2), Fault::Cut(500_000), Fault::Cut(400_000)];
    server.fail(&cuts);
    pull(&server, &dir).unwrap();
    assert_eq!(pulled(&dir), weights());
    let last = weights().len() - 1;
    let expected = [0, 500_000, 900_000].map(|from| format!("bytes={from}-{last}"));
    assert_eq!(ranges(&server), expected);
}

#[test]
fn a_pull_that_was_given_up_goes_on_in_the_next_one() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    // The first is used up by the small file.
    let cuts = [Fault::Cut(2), Fault::Cut(700_000), Fault::Cut(0), Fault::Cut(0), Fault::Cut(0)];
    server.fail(&cuts);
    let error = pull(&server, &dir).unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
    assert!(Store::new(dir.path()).manifest(&MODEL).is_none(), "half a model is none");
    let before = ranges(&server).len();
    pull(&server, &dir).unwrap();
    assert_eq!(pulled(&dir), weights());
    assert!(ranges(&server)[before].starts_with("bytes=700000-"), "{:?}", ranges(&server));
}

#[test]
fn a_server_without_ranges_sends_all_again_and_the_file_is_whole() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.fail(&[Fault::Cut(2), Fault::Cut(300_000), Fault::NoRange]);
    pull(&server, &dir).unwrap();
    assert_eq!(pulled(&dir), weights());
}

#[test]
fn bytes_of_another_checksum_are_removed_and_named() {
    let weights = weights();
    let wrong = "0".repeat(64);
    let server = Server::new().small(CONFIG, b"{}").large(WEIGHTS, &weights, &wrong);
    let dir = tempfile::tempdir().unwrap();
    let text = pull(&server, &dir).unwrap_err().to_string();
    assert!(text.contains(&wrong) && text.contains(&sha256(&weights)), "{text}");
    let left = fs_err::read_dir(dir.path().join("m")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("weights")), "{names:?}");
}

#[test]
fn the_checksum_that_is_known_here_counts_more_than_the_hub_s() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let known = "1111111111111111111111111111111111111111111111111111111111111111";
    let files: &'static [PublishedFile] =
        Box::leak(Box::new([PublishedFile { sha256: Some(known), ..FILES[1] }]));
    let model = Published { files, ..MODEL };
    let error = Store::new(dir.path()).pull(&model, &hub(&server, None), &mut |_| ()).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
}

#[test]
fn the_token_goes_to_the_hub_and_never_to_where_it_redirects() {
    let weights = weights();
    let server = server().needing("hf_secret");
    let dir = tempfile::tempdir().unwrap();
    let refused = pull(&server, &dir).unwrap_err();
    assert!(matches!(refused, HubError::Refused { status: 401, .. }), "{refused}");
    let hub = hub(&server, Some("hf_secret"));
    Store::new(dir.path()).pull(&MODEL, &hub, &mut |_| ()).unwrap();
    assert_eq!(pulled(&dir), weights);
    let seen = server.seen();
    assert!(seen.iter().any(|seen| seen.at_storage));
    for seen in seen {
        assert!(!seen.at_storage || seen.authorization.is_none(), "{seen:?}");
    }
    assert!(!format!("{hub:?}").contains("hf_secret"));
    assert!(!refused.to_string().contains("hf_secret"));
}

#[test]
fn a_file_that_is_not_there_is_an_error_at_once() {
    let (server, dir) = (Server::new(), tempfile::tempdir().unwrap());
    let error = pull(&server, &dir).unwrap_err();
    assert!(matches!(error, HubError::NotFound(_)), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_hub_that_asks_for_a_wait_is_given_it() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.fail(&[Fault::Head(429, Some(1))]);
    let began = Instant::now();
    pull(&server, &dir).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_hub_that_asks_for_too_long_a_wait_ends_the_pull_with_the_time() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.fail(&[Fault::Head(429, Some(3600))]);
    let text = pull(&server, &dir).unwrap_err().to_string();
    assert!(text.contains("3600 s"), "{text}");
}

#[test]
fn a_failing_server_is_asked_again_but_not_for_ever() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.fail(&[Fault::Head(503, None), Fault::Head(500, None)]);
    pull(&server, &dir).unwrap();
    let (server, dir) = (self::server(), tempfile::tempdir().unwrap());
    server.fail(&[Fault::Head(503, None), Fault::Head(503, None), Fault::Head(503, None)]);
    let error = pull(&server, &dir).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 503, .. }), "{error}");
}

#[test]
fn a_folder_that_has_the_files_is_as_good_as_a_hub() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::new(dir.path());
    fs_err::write(folder.path().join("config.json"), b"{}").unwrap();
    let error = store.pull_from(&MODEL, folder.path(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("weights.bin"), "{error}");
    fs_err::write(folder.path().join("weights.bin"), weights()).unwrap();
    let manifest = store.pull_from(&MODEL, folder.path(), &mut |_| ()).unwrap();
    assert!(manifest.files.iter().all(|file| !file.is_published), "nobody vouches for it");
    assert_eq!(pulled(&dir), weights());
}

#[test]
fn what_changed_since_it_was_pulled_is_found_and_removing_leaves_nothing() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    pull(&server, &dir).unwrap();
    let store = Store::new(dir.path());
    let manifest = store.manifest(&MODEL).unwrap();
    let states = |store: &Store| -> Vec<Verified> {
        store.verify(&manifest).unwrap().into_iter().map(|(_, verified)| verified).collect()
    };
    assert_eq!(states(&store), [Verified::Same, Verified::Same]);
    let path = dir.path().join("m/weights.bin");
    let mut bytes = weights();
    bytes[1000] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    assert_eq!(states(&store)[1], Verified::Changed { found: sha256(&bytes) });
    fs_err::remove_file(&path).unwrap();
    assert_eq!(states(&store)[1], Verified::Missing);
    assert!(store.remove(&MODEL).unwrap());
    assert!(!dir.path().join("m").exists() && !store.remove(&MODEL).unwrap());
}

#[test]
fn progress_never_goes_back_and_ends_with_the_whole_file() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let mut told: Vec<(String, bool, u64, u64)> = Vec::new();
    let mut keep = |progress: footage_hub::FileProgress<'_>| {
        let path = progress.path.to_owned();
        told.push((path, progress.is_checking, progress.done, progress.size));
    };
    Store::new(dir.path()).pull(&MODEL, &hub(&server, None), &mut keep).unwrap();
    let weights: Vec<_> = told.iter().filter(|told| told.0 == "weights.bin" && !told.1).collect();
    assert!(weights.windows(2).all(|pair| pair[0].2 <= pair[1].2));
    assert_eq!(weights.last().unwrap().2, weights[0].3);
}
