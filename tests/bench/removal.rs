//! Removing from a vector server: what it costs beside the clips that stay.

use std::time::Instant;

use footage_clip::SourceId;
use footage_index::contract::{clips, collection};
use footage_index::{Filter, FindClips as _, KeepClips as _, ServerIndex};
use footage_tests::qdrant::VectorServer;

use crate::measures::server;

const DIM: usize = 128;
/// Clips of a source, and of how many sources in all.
const CLIPS: u64 = 3000;
const WORLDS: [usize; 3] = [10, 50, 100];
/// Of a clip, four seconds long, that begins two seconds after the one before it.
const STEP_NS: u64 = 2_000_000_000;

pub(crate) async fn run() {
    let vectors = VectorServer::start(&[]);
    let collection = collection(DIM);
    let index = ServerIndex::open(&server(&vectors), &collection).await.unwrap();
    let mut there = 0;
    for world in WORLDS {
        while there < world {
            let clips = clips(&collection, &format!("camera-{there}"), CLIPS);
            for batch in clips.chunks(1000) {
                index.keep(batch).await.unwrap();
            }
            there += 1;
        }
        let all = index.count(&Filter::default()).await.unwrap();
        let source = |at: usize| SourceId::try_new(format!("camera-{at}")).unwrap();
        // Half of one by age, all of another; put back after it.
        let began = Instant::now();
        let half = index.remove_before(&source(0), (CLIPS / 2 + 1) * STEP_NS).await.unwrap();
        let by_age = began.elapsed();
        let began = Instant::now();
        let whole = index.remove_source(&source(1)).await.unwrap();
        let by_source = began.elapsed();
        println!(
            "of {all} clips: {half} of a source by age in {:.0} ms, all {whole} of another in {:.0} ms",
            by_age.as_secs_f64() * 1e3,
            by_source.as_secs_f64() * 1e3
        );
        for at in [0, 1] {
            for batch in clips(&collection, &format!("camera-{at}"), CLIPS).chunks(1000) {
                index.keep(batch).await.unwrap();
            }
        }
    }
}
