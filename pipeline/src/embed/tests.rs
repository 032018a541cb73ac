use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use footage_clip::{NoDirection, TimedFrame};
use tokio::time::timeout;

use super::test_encoder::{POISON, TestEncoder};
use super::*;

fn settings(clips: usize) -> EmbedSettings {
    let some = |number| NonZeroUsize::new(number).unwrap();
    EmbedSettings {
        max_frames: some(3),
        max_clips: some(clips),
        queue_clips: some(clips),
        ..EmbedSettings::default()
    }
}

fn picture(colour: [u8; 3]) -> RgbFrame {
    RgbFrame::try_new(2, 2, colour.repeat(4)).unwrap()
}

/// A source's clips of four frames, each beginning two frames after the one before. Frame `i` has
/// colour `i`, and comes at `i` seconds.
fn clips(source: u8, count: u8) -> Vec<Vec<TimedFrame<RgbFrame>>> {
    let frame = |at: u8| TimedFrame {
        slot: u64::from(at),
        time_ns: u64::from(at) * 1_000_000_000,
        frame: picture([at, source, 7]),
    };
    (0..count).map(|clip| (clip * 2..clip * 2 + 4).map(frame).collect()).collect()
}

async fn embed_all(
    queue: &SourceQueue,
    clips: Vec<Vec<TimedFrame<RgbFrame>>>,
) -> Vec<Result<Embedding, EmbedError>> {
    let mut results = Vec::new();
    for clip in clips {
        results.push(queue.submit(clip).await.unwrap().embedding().await);
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharing_changes_nothing_and_every_frame_is_looked_at_once() {
    let encoder = TestEncoder::default();
    let (looks, calls) = (encoder.looks.clone(), encoder.calls.clone());
    let (queue, stage) = EmbedStage::spawn_with(encoder, settings(4)).unwrap();
    let both = [1, 2].map(|source| {
        let queue = queue.source(2);
        tokio::spawn(async move { embed_all(&queue, clips(source, 20)).await })
    });
    drop(queue);
    let mut shared = Vec::new();
    for source in both {
        shared.extend(source.await.unwrap());
    }
    stage.join().unwrap();

    let alone = TestEncoder::default();
    for (clip, shared) in clips(1, 20).into_iter().chain(clips(2, 20)).zip(shared) {
        let frames: Vec<_> = clip.into_iter().map(|frame| frame.frame).collect();
        let features = alone.frame_features(&frames).unwrap();
        assert_eq!(shared.unwrap(), alone.embed_clips(&[features]).unwrap()[0]);
    }
    let looks = looks.lock().unwrap();
    assert_eq!(looks.len(), 2 * 42, "42 distinct frames in 20 clips of 4 at stride 2");
    assert!(looks.values().all(|count| *count == 1), "{looks:?}");
    assert!(calls.lock().unwrap().iter().all(|frames| *frames <= 3));
}

#[tokio::test]
async fn clips_of_one_batch_that_share_no_frame_are_all_embedded() {
    let (queue, _stage) = EmbedStage::spawn_with(TestEncoder::default(), settings(8)).unwrap();
    let source = queue.source(4);
    let mut pending = Vec::new();
    for clip in clips(1, 12).into_iter().step_by(2) {
        pending.push(source.submit(clip).await.unwrap());
    }
    for embedding in pending {
        embedding.embedding().await.unwrap();
    }
}

#[tokio::test]
async fn clips_left_out_by_an_earlier_run_change_no_other() {
    let whole = TestEncoder::default();
    let (queue, _stage) = EmbedStage::spawn_with(whole, settings(4)).unwrap();
    let all = embed_all(&queue.source(2), clips(1, 10)).await;
    let mut some = clips(1, 10);
    some.drain(3..6);
    some.remove(0);
    let resumed = embed_all(&queue.source(2), some).await;
    let expected: Vec<_> = [1, 2, 6, 7, 8, 9].map(|at: usize| all[at].clone()).into();
    assert_eq!(resumed, expected);
}

#[tokio::test]
async fn a_clip_on_which_the_model_fails_takes_no_other_with_it() {
    let (queue, _stage) = EmbedStage::spawn_with(TestEncoder::default(), settings(8)).unwrap();
    let mut some = clips(1, 6);
    for clip in &mut some {
        clip.iter_mut().filter(|f| f.slot == 5).for_each(|f| f.frame = picture(POISON));
    }
    let mut pending = Vec::new();
    let source = queue.source(2);
    for clip in some {
        pending.push(source.submit(clip).await.unwrap());
    }
    let mut failed = Vec::new();
    for (at, embedding) in pending.into_iter().enumerate() {
        if let Err(error) = embedding.embedding().await {
            assert!(matches!(error, EmbedError::Clip(_)));
            failed.push(at);
        }
    }
    assert_eq!(failed, [1, 2], "those that contain frame 5");
}

/// Looks at frames only when told to.
struct Gated {
    entered: SyncSender<usize>,
    go: Mutex<Receiver<()>>,
}

impl ClipEncoder for Gated {
    type Features = ();
    type Error = String;

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<()>, String> {
        self.go.lock().unwrap().recv().map_err(|error| error.to_string())?;
        Ok(vec![(); frames.len()])
    }

    fn embed_clips(&self, clips: &[Vec<()>]) -> Result<Vec<Embedding>, String> {
        self.entered.send(clips.len()).unwrap();
        Ok(vec![Embedding::normalise(vec![1.0]).unwrap(); clips.len()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_the_source_wait_and_what_waited_leaves_together() {
    let (entered, batches) = sync_channel(16);
    let (go, gate) = sync_channel(64);
    let gated = Gated { entered, go: Mutex::new(gate) };
    let (queue, stage) = EmbedStage::spawn_with(gated, settings(2)).unwrap();
    let source = queue.source(2);
    let mut clips = clips(1, 5).into_iter();
    let mut pending = vec![source.submit(clips.next().unwrap()).await.unwrap()];
    while queue.stats().archive_waiting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await; // the worker takes it and waits inside
    }
    for _ in 0..2 {
        pending.push(source.submit(clips.next().unwrap()).await.unwrap());
    }
    let next = clips.next().unwrap();
    let waited = timeout(Duration::from_millis(50), source.submit(next.clone())).await;
    assert!(waited.is_err(), "a third clip waits outside");

    for _ in 0..60 {
        go.send(()).unwrap();
    }
    pending.push(source.submit(next).await.unwrap());
    for embedding in pending {
        embedding.embedding().await.unwrap();
    }
    drop((queue, source));
    stage.join().unwrap();
    let batches: Vec<usize> = batches.iter().collect();
    assert_eq!(batches.iter().sum::<usize>(), 4);
    assert_eq!(batches[..2], [1, 2]);
}

/// Notes where the pixels lie that it is given.
struct Notes(Arc<Mutex<Vec<usize>>>);

impl ClipEncoder for Notes {
    type Features = ();
    type Error = NoDirection;

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<()>, NoDirection> {
        self.0.lock().unwrap().extend(frames.iter().map(|frame| frame.data().as_ptr().addr()));
        Ok(vec![(); frames.len()])
    }

    fn embed_clips(&self, clips: &[Vec<()>]) -> Result<Vec<Embedding>, NoDirection> {
        clips.iter().map(|_| Embedding::normalise(vec![1.0])).collect()
    }
}

#[tokio::test]
async fn the_model_is_given_the_very_pixels_that_were_offered() {
    let given = Arc::new(Mutex::new(Vec::new()));
    let (queue, _stage) = EmbedStage::spawn_with(Notes(given.clone()), settings(2)).unwrap();
    let clip = clips(1, 1).remove(0);
    let offered: Vec<usize> = clip.iter().map(|f| f.frame.data().as_ptr().addr()).collect();
    queue.live_source(2).offer(clip.clone()).embedding().await.unwrap();
    assert_eq!(*given.lock().unwrap(), offered);
}

#[tokio::test]
async fn a_stage_that_has_gone_says_so() {
    struct Panics;
    impl ClipEncoder for Panics {
        type Features = ();
        type Error = String;
        fn frame_features(&self, _frames: &[RgbFrame]) -> Result<Vec<()>, String> {
            panic!("the device is gone")
        }
        fn embed_clips(&self, _clips: &[Vec<()>]) -> Result<Vec<Embedding>, String> {
            Ok(Vec::new())
        }
    }
    let (queue, stage) = EmbedStage::spawn_with(Panics, settings(2)).unwrap();
    let source = queue.source(2);
    let first = source.submit(clips(1, 1).remove(0)).await.unwrap();
    assert_eq!(first.embedding().await, Err(EmbedError::Stopped));
    drop((queue, source));
    assert_eq!(stage.join(), Err(EmbedError::Stopped));
}

/// A stage that works when told to.
struct Busy {
    queue: EmbedQueue,
    /// One of its clips has been taken.
    live: LiveSourceQueue,
    taken: PendingEmbedding,
    go: SyncSender<()>,
    _batches: Receiver<usize>,
}

impl Busy {
    async fn stage(settings: EmbedSettings) -> Self {
        let (entered, batches) = sync_channel(100);
        let (go, gate) = sync_channel(1000);
        let gated = Gated { entered, go: Mutex::new(gate) };
        let (queue, _stage) = EmbedStage::spawn_with(gated, settings).unwrap();
        let live = queue.live_source(2);
        let mut taken = live.offer(clips(1, 1).remove(0));
        while queue.stats().live_waiting > 0 || live.tally().open() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if live.tally().open() == 0 {
                // The worker was slow to wake.
                taken = live.offer(clips(1, 1).remove(0));
            }
        }
        Self { queue, live, taken, go, _batches: batches }
    }

    fn go(&self) {
        for _ in 0..60 {
            self.go.send(()).unwrap();
        }
    }
}

fn live_settings() -> EmbedSettings {
    EmbedSettings { live_queue_clips: NonZeroUsize::new(4).unwrap(), ..settings(2) }
}

/// The answer, which must be there already.
async fn at_once(pending: PendingEmbedding) -> Result<Embedding, EmbedError> {
    timeout(Duration::from_secs(5), pending.embedding()).await.expect("answered already")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_stage_is_behind_the_newest_clip_of_the_most_served_source_gives_way() {
    let stage = Busy::stage(live_settings()).await;
    let (queue, first) = (&stage.queue, &stage.live);
    let (second, third) = (queue.live_source(2), queue.live_source(2));
    let offer = |source: &LiveSourceQueue, nth: usize| source.offer(clips(1, 9).swap_remove(nth));
    let kept = vec![offer(first, 1), offer(&second, 0), offer(&second, 1)];
    let gives_way = offer(first, 2);
    let comes_last = offer(&third, 0);
    assert_eq!(at_once(gives_way).await, Err(EmbedError::Overload), "it was served before");
    let own = offer(&second, 2);
    assert_eq!(at_once(own).await, Err(EmbedError::Overload), "it has most waiting");
    assert_eq!((first.tally().overloaded, second.tally().overloaded), (1, 1));
    assert_eq!(queue.stats().live_waiting, 4);

    stage.go();
    for pending in kept.into_iter().chain([comes_last, stage.taken]) {
        pending.embedding().await.unwrap();
    }
    let live = stage.queue.stats().live;
    assert_eq!((live.offered, live.embedded, live.overloaded), (7, 5, 2));
    assert_eq!(live.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_source_that_leaves_takes_its_waiting_clips_with_it() {
    let stage = Busy::stage(live_settings()).await;
    let leaves = stage.queue.live_source(2);
    let (left, kept) =
        (leaves.offer(clips(1, 1).remove(0)), stage.live.offer(clips(2, 2).remove(1)));
    drop(leaves);
    assert_eq!(at_once(left).await, Err(EmbedError::Stopped));
    stage.go();
    kept.embedding().await.unwrap();
    assert_eq!(stage.queue.stats().live.withdrawn, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clip_whose_answer_nobody_wants_is_not_looked_at() {
    let stage = Busy::stage(live_settings()).await;
    drop(stage.live.offer(clips(1, 2).remove(1)));
    let wanted = stage.live.offer(clips(1, 3).remove(2));
    stage.go();
    wanted.embedding().await.unwrap();
    let live = stage.queue.stats().live;
    assert_eq!((live.offered, live.embedded, live.withdrawn), (3, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_clip_that_waited_too_long_is_given_up_and_an_archives_is_not() {
    let settings = EmbedSettings { max_wait: Duration::from_millis(20), ..live_settings() };
    let stage = Busy::stage(settings).await;
    let late = stage.live.offer(clips(1, 2).remove(1));
    let archive = stage.queue.source(2);
    let patient = archive.submit(clips(2, 1).remove(0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    stage.go();
    assert_eq!(late.embedding().await, Err(EmbedError::Overload));
    patient.embedding().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_that_give_way_change_no_other_and_every_clip_is_answered() {
    let settings = EmbedSettings { live_queue_clips: NonZeroUsize::MIN, ..settings(3) };
    let (queue, stage) = EmbedStage::spawn_with(TestEncoder::default(), settings).unwrap();
    let cameras = [1, 2, 3].map(|camera| {
        let source = queue.live_source(2);
        tokio::task::spawn_blocking(move || {
            let offer = |clip| source.offer(clip);
            let pending: Vec<_> = clips(camera, 60).into_iter().map(offer).collect();
            (camera, source, pending)
        })
    });
    let alone = TestEncoder::default();
    let mut gave_way = 0;
    for camera in cameras {
        let (camera, source, pending) = camera.await.unwrap();
        for (clip, pending) in clips(camera, 60).into_iter().zip(pending) {
            match pending.embedding().await {
                Ok(embedding) => {
                    let frames: Vec<_> = clip.into_iter().map(|frame| frame.frame).collect();
                    let features = alone.frame_features(&frames).unwrap();
                    assert_eq!(embedding, alone.embed_clips(&[features]).unwrap()[0]);
                }
                Err(error) => {
                    assert_eq!(error, EmbedError::Overload);
                    gave_way += 1;
                }
            }
        }
        assert_eq!((source.tally().offered, source.tally().open()), (60, 0));
    }
    let live = queue.stats().live;
    assert_eq!((live.offered, live.embedded + gave_way, live.overloaded), (180, 180, gave_way));
    assert!(gave_way > 0, "there was room for one");
    drop(queue);
    stage.join().unwrap();
}
