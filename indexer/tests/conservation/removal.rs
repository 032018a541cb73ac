//! Removals among clips.

use std::collections::BTreeSet;
use std::sync::Arc;

use footage_clip::{ClipId, ClipState, RemovalRecord};
use footage_index::Ledger;
use footage_indexer::Indexer;
use footage_topic::Topic as _;
use tempfile::TempDir;

use crate::faulty::{Fault, FaultyIndex};
use crate::{publish, settings, some_clips, source_of, state_of, topic};

#[tokio::test]
async fn a_removal_takes_what_came_before_it_and_nothing_after_wherever_a_run_ends() {
    let mut interrupted = 0;
    for failing in 0..14 {
        let folder = TempDir::new().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let index = Arc::new(FaultyIndex::with_faults([(failing, Fault::Full)]));
        let none = BTreeSet::new();
        let (gate, yard) = (some_clips("gate", 20, &none), some_clips("yard", 8, &none));
        let whole = RemovalRecord {
            source_id: gate[0].source_id.clone(),
            before_ns: None,
            asked_unix_ns: 1,
        };
        let old = RemovalRecord {
            source_id: yard[0].source_id.clone(),
            before_ns: Some(yard[2].span.end_ns),
            asked_unix_ns: 2,
        };
        let topic = topic();
        publish(&topic, [source_of(&gate[0]).into(), source_of(&yard[0]).into()]).await;
        publish(&topic, gate[..15].iter().chain(&yard).cloned().map(Into::into)).await;
        publish(&topic, [whole.into()]).await;
        publish(&topic, [source_of(&gate[0]).into()]).await;
        publish(&topic, gate[10..].iter().cloned().map(Into::into)).await;
        publish(&topic, [old.into()]).await;
        topic.close();

        // What a run leaves when the disk is full, the next one takes up.
        loop {
            let indexer = Indexer::new(index.clone(), ledger.clone(), settings(100));
            if indexer.run(topic.follow().await.unwrap()).await.is_ok() {
                break;
            }
            interrupted += 1;
            index.crash();
        }

        let kept: Vec<_> = gate[10..].iter().chain(&yard[3..]).collect();
        let ids: BTreeSet<ClipId> = kept.iter().map(|clip| clip.clip_id).collect();
        assert_eq!(index.durable(), ids, "the call {failing} failed");
        assert_eq!(ledger.indexed_clips().unwrap(), kept.len() as u64);
        for clip in kept {
            assert_eq!(state_of(&ledger, clip), Some(ClipState::Indexed));
        }
        for clip in gate[..10].iter().chain(&yard[..3]) {
            assert_eq!(state_of(&ledger, clip), None);
        }
    }
    assert!(interrupted > 4, "{interrupted} runs were interrupted: the test saw few faults");
}
