//! Clips on a server. The promises of every index are tried against the server at
//! `FOOTAGE_TEST_QDRANT_URL` where that is set, in collections of their own, and else against
//! `footage-qdrant-server`: the same client, protocol and engine, but not a Qdrant server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, reason = "other tests use this file as well")]
#[path = "../../tests/support/qdrant.rs"]
mod qdrant;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use footage_clip::Fingerprint;
use footage_index::contract::{
    Fixture, clips, collection, direction, one_of_two_collections_is_read,
};
use footage_index::{
    ApiKey, Beside as _, Collection, Filter, FindClips as _, IndexError, KeepClips as _,
    Quantization, ServerIndex, ServerSettings,
};

use qdrant::VectorServer;

fn settings(url: &str) -> ServerSettings {
    ServerSettings {
        url: url.to_owned(),
        api_key: std::env::var("FOOTAGE_TEST_QDRANT_KEY").ok().map(ApiKey::new),
        alias: "footage-clips".to_owned(),
        timeout: Duration::from_secs(10),
        shards: 1,
        replication: 1,
        write_consistency: 1,
        quantization: Quantization::Scalar,
        on_disk: false,
        beam: 128,
    }
}

/// Makes an empty index: on a server of its own, or in a collection of its own of the one that is
/// there.
fn made(wanted: Collection) -> Pin<Box<dyn Future<Output = Fixture> + Send>> {
    static COLLECTIONS: AtomicU64 = AtomicU64::new(0);
    Box::pin(async move {
        if let Ok(url) = std::env::var("FOOTAGE_TEST_QDRANT_URL") {
            let number = COLLECTIONS.fetch_add(1, Ordering::Relaxed);
            let alias = format!("footage-test-{}-{number}", std::process::id());
            let settings = ServerSettings { alias, ..settings(&url) };
            let index = ServerIndex::open(&settings, &wanted).await.unwrap();
            return Fixture { index: Arc::new(index), guard: Box::new(()) };
        }
        let server = VectorServer::start(&[]);
        let index = ServerIndex::open(&settings(server.url()), &wanted).await.unwrap();
        Fixture { index: Arc::new(index), guard: Box::new(server) as Box<dyn Any + Send + Sync> }
    })
}

footage_index::index_contract!(made);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_collections_is_read_also_by_who_connects_next() {
    let server = VectorServer::start(&[]);
    let settings = settings(server.url());
    let wanted = collection(8);
    let index = ServerIndex::open(&settings, &wanted).await.unwrap();
    one_of_two_collections_is_read(&index).await;
    let mut other = collection(5);
    other.model.fingerprint = Fingerprint::try_from("f".repeat(32)).unwrap();
    let beside = index.beside(&other).await.unwrap();
    let refused = ServerIndex::open_existing(&settings, &other).await.unwrap_err();
    assert!(matches!(refused, IndexError::OtherModel { .. }), "{refused}");
    beside.make_current().await.unwrap();
    ServerIndex::open_existing(&settings, &other).await.unwrap();
    let refused = ServerIndex::open_existing(&settings, &wanted).await.unwrap_err();
    assert!(matches!(refused, IndexError::OtherModel { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_survives_a_crash_of_the_server_and_calls_outlast_it() {
    let mut server = VectorServer::start(&[]);
    let wanted = collection(8);
    let index = ServerIndex::open(&settings(server.url()), &wanted).await.unwrap();
    index.keep(&clips(&wanted, "gate", 500)).await.unwrap();
    server.kill();
    let error = index.count(&Filter::default()).await.unwrap_err();
    assert!(matches!(error, IndexError::Failed { .. }), "{error}");
    server.restart(&[]);
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 500);
    let reopened = ServerIndex::open(&settings(server.url()), &wanted).await.unwrap();
    assert_eq!(reopened.find(&direction(8, 1), &Filter::default(), 9).await.unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_before_or_after_they_were_carried_out_are_made_again() {
    let server = VectorServer::start(&["--unavailable-every", "3"]);
    let wanted = collection(8);
    let index = ServerIndex::open(&settings(server.url()), &wanted).await.unwrap();
    for batch in clips(&wanted, "gate", 200).chunks(10) {
        index.keep(batch).await.unwrap();
    }
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 200);
    assert_eq!(index.find(&direction(8, 1), &Filter::default(), 300).await.unwrap().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_key_lets_in_who_has_it_and_the_key_is_not_shown() {
    let server = VectorServer::start(&["--api-key", "hunter2"]);
    let with =
        |key: &str| ServerSettings { api_key: Some(ApiKey::new(key)), ..settings(server.url()) };
    let wanted = collection(8);
    let error = ServerIndex::open(&with("wrong-key"), &wanted).await.unwrap_err().to_string();
    assert!(!error.contains("wrong-key") && error.contains("key"), "{error}");
    let index = ServerIndex::open(&with("hunter2"), &wanted).await.unwrap();
    index.keep(&clips(&wanted, "gate", 3)).await.unwrap();
    assert!(!format!("{index:?} {:?}", with("hunter2")).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_of_another_model_are_kept_apart_and_not_read() {
    let server = VectorServer::start(&[]);
    let wanted = collection(8);
    let absent = ServerIndex::open_existing(&settings(server.url()), &wanted).await;
    assert!(matches!(absent, Err(IndexError::Absent(_))), "{absent:?}");
    let index = ServerIndex::open(&settings(server.url()), &wanted).await.unwrap();
    index.keep(&clips(&wanted, "gate", 3)).await.unwrap();

    let mut other = collection(4);
    other.model.fingerprint = Fingerprint::try_from("f".repeat(32)).unwrap();
    let beside = ServerIndex::open(&settings(server.url()), &other).await.unwrap();
    assert_eq!(beside.count(&Filter::default()).await.unwrap(), 0);
    let error = ServerIndex::open_existing(&settings(server.url()), &other).await.unwrap_err();
    let IndexError::OtherModel { found, wanted: asked, .. } = error else { panic!("{error}") };
    assert_eq!((found, asked), (wanted.model.fingerprint.clone(), other.model.fingerprint));
    let read = ServerIndex::open_existing(&settings(server.url()), &wanted).await.unwrap();
    assert_eq!(read.count(&Filter::default()).await.unwrap(), 3);
}
