//! A batch is received and kept while the one before it is entered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use footage_clip::RemovalRecord;
use footage_indexer::{Accounts, Entry, Indexer, IndexerError};
use footage_topic::Topic as _;
use tokio::time::{sleep, timeout};

use crate::faulty::FaultyIndex;
use crate::{publish, settings, some_clips, topic};

/// Takes the first entry only once the index was called as often as this.
struct Slow {
    index: Arc<FaultyIndex>,
    calls: usize,
    entries: Arc<Mutex<Vec<u64>>>,
}

#[async_trait]
impl Accounts for Slow {
    async fn enter(&self, entry: Entry) -> Result<Entry, IndexerError> {
        while self.entries.lock().unwrap().is_empty() && self.index.calls() < self.calls {
            sleep(Duration::from_millis(1)).await;
        }
        self.entries.lock().unwrap().push(entry.coverage[0].span.start_ns);
        Ok(entry)
    }
}

#[tokio::test]
async fn the_next_batch_is_kept_while_one_is_entered_and_entries_keep_their_order() {
    let index = Arc::new(FaultyIndex::default());
    let entries = Arc::new(Mutex::new(Vec::new()));
    // To keep and to flush are two calls a batch.
    let accounts = Slow { index: index.clone(), calls: 4, entries: entries.clone() };
    let indexer = Indexer::new(index.clone(), accounts, settings(2));
    let clips = some_clips("gate", 6, &BTreeSet::new());
    let topic = topic();
    publish(&topic, clips.iter().cloned().map(Into::into)).await;
    topic.close();

    let run = indexer.run(topic.follow().await.unwrap());
    let report = timeout(Duration::from_secs(20), run).await.expect("nothing waits for good");

    assert_eq!(report.unwrap().batches, 3);
    let begins: Vec<u64> = clips.iter().step_by(2).map(|clip| clip.span.start_ns).collect();
    assert_eq!(*entries.lock().unwrap(), begins);
    assert_eq!(topic.uncommitted(), 0);
}

#[tokio::test]
async fn what_is_entered_is_committed_while_nothing_else_comes() {
    let index = Arc::new(FaultyIndex::default());
    let accounts = Slow { index: index.clone(), calls: 0, entries: Arc::default() };
    let indexer = Indexer::new(index, accounts, settings(100));
    let topic = topic();
    let follower = topic.follow().await.unwrap();
    let run = tokio::spawn(async move { indexer.run(follower).await });
    publish(&topic, some_clips("gate", 1, &BTreeSet::new()).into_iter().map(Into::into)).await;
    let committed = async {
        while topic.uncommitted() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), committed).await.expect("it is committed");
    topic.close();
    assert_eq!(run.await.unwrap().unwrap().batches, 1);
}

#[tokio::test]
async fn nothing_after_a_removal_is_kept_before_it_is_done() {
    let index = Arc::new(FaultyIndex::default());
    // Two calls for what comes before the removal: a third one would be for what comes after.
    let accounts = Slow { index: index.clone(), calls: 3, entries: Arc::default() };
    let indexer = Indexer::new(index.clone(), accounts, settings(100));
    let clips = some_clips("gate", 4, &BTreeSet::new());
    let topic = topic();
    publish(&topic, clips[..2].iter().cloned().map(Into::into)).await;
    let source_id = clips[0].source_id.clone();
    publish(&topic, [RemovalRecord { source_id, before_ns: None, asked_unix_ns: 1 }.into()]).await;
    publish(&topic, clips[2..].iter().cloned().map(Into::into)).await;
    topic.close();

    let run = indexer.run(topic.follow().await.unwrap());

    assert!(timeout(Duration::from_millis(200), run).await.is_err(), "it waits for the removal");
    assert_eq!(index.calls(), 2);
}
