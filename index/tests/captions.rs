//! Captions in a folder: they survive, also where the folder is of an earlier release.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::path::Path;

use footage_clip::Caption;
use footage_index::contract::{clips, collection};
use footage_index::{EmbeddedIndex, EmbeddedSettings, Filter, FindClips as _, KeepClips as _};
use qdrant_edge::{EdgeShard, FieldIndexOperations, UpdateOperation};
use tempfile::TempDir;

async fn open(data: &Path) -> EmbeddedIndex {
    EmbeddedIndex::open(data, &collection(8), EmbeddedSettings::default()).await.unwrap()
}

async fn found(index: &EmbeddedIndex, words: &str) -> usize {
    index.find_words(words, &Filter::default(), 100).await.unwrap().len()
}

#[tokio::test]
async fn an_index_of_an_earlier_release_finds_no_words_until_its_first_caption() {
    let data = TempDir::new().unwrap();
    let kept = clips(&collection(8), "gate", 20);
    let index = open(data.path()).await;
    let shard = index.folder().join("clips");
    index.keep(&kept).await.unwrap();
    index.close().await.unwrap();
    // As they made it: without an index of words.
    let earlier = EdgeShard::load(&shard, None).unwrap();
    let without = FieldIndexOperations::DeleteIndex("caption".parse().unwrap());
    earlier.update(UpdateOperation::FieldIndexOperation(without)).unwrap();
    earlier.flush().unwrap();
    assert!(
        earlier.info().unwrap().payload_schema.keys().all(|field| field.to_string() != "caption")
    );
    drop(earlier);

    let index = open(data.path()).await;
    assert_eq!(found(&index, "dogs").await, 0);
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 20);
    let caption = Caption::try_new("a dog runs").unwrap();
    assert_eq!(index.caption(&[(kept[7].clip_id, caption)]).await.unwrap(), 1);
    assert_eq!(found(&index, "dogs").await, 1);
    index.close().await.unwrap();

    let index = open(data.path()).await;
    assert_eq!(found(&index, "dogs").await, 1);
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 20);
}

#[tokio::test]
async fn captions_that_were_flushed_are_there_after_an_end_without_a_farewell() {
    let data = TempDir::new().unwrap();
    let kept = clips(&collection(8), "gate", 20);
    let index = open(data.path()).await;
    index.keep(&kept).await.unwrap();
    for (clip, said) in kept.iter().zip(["a dog runs", "a red car", "two dogs"]) {
        let caption = Caption::try_new(said).unwrap();
        assert_eq!(index.caption(&[(clip.clip_id, caption)]).await.unwrap(), 1);
    }
    index.flush().await.unwrap();
    // What a power cut leaves: the files as they are, while the index is open.
    let left = TempDir::new().unwrap();
    copy(data.path(), left.path());

    let index = open(left.path()).await;
    assert_eq!(found(&index, "dog").await, 2);
    assert_eq!(found(&index, "red").await, 1);
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let at = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &at);
        } else {
            fs_err::copy(entry.path(), at).unwrap();
        }
    }
}
