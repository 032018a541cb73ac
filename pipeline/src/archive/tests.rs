use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use footage_clip::{
    ClipRecord, ClipState, Coverage, FileStamp, Fingerprint, LostReason, Rate, SourceRecord,
};
use footage_topic::{MemoryTopic, TopicMessage};

use super::*;
use crate::embed::test_encoder::TestEncoder;
use crate::{EmbedSettings, EmbedStage, Known, NoEarlierWork};

/// Renders 8 seconds of a moving ball; `x264` gives a keyframe every second.
fn video(path: &Path) {
    let line = format!(
        "videotestsrc num-buffers=200 pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 \
         ! x264enc key-int-max=25 speed-preset=ultrafast threads=1 ! mp4mux ! filesink location={}",
        path.display()
    );
    let made = Command::new("gst-launch-1.0").arg("-q").args(line.split_whitespace()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn window() -> WindowSpec {
    WindowSpec::try_new(4, 2, Rate::try_new(4, 1).unwrap()).unwrap()
}

struct Setup {
    archive: Archive,
    encoder: TestEncoder,
    topic: Arc<MemoryTopic>,
}

fn setup(earlier: impl EarlierWork + 'static) -> Setup {
    let encoder = TestEncoder::default();
    let (embed, _stage) =
        EmbedStage::spawn_with(encoder.clone(), EmbedSettings::default()).unwrap();
    let topic = Arc::new(MemoryTopic::new(NonZeroUsize::new(1000).unwrap()));
    let fingerprint = Fingerprint::of_hash(&blake3::hash(b"test"));
    let archive = Archive {
        model: ModelRef { name: "test".into(), fingerprint },
        window: window(),
        window_is_wished: true,
        decode: DecodeSettings { mode: DecodeMode::All, ..DecodeSettings::default() },
        parallel_files: NonZeroUsize::new(2).unwrap(),
        embed,
        topic: topic.clone(),
        earlier: Arc::new(earlier),
    };
    Setup { archive, encoder, topic }
}

impl Setup {
    async fn index(&self, paths: &[&Path], cancel: &Cancel) -> Vec<FileOutcome> {
        let files = paths.iter().map(|path| FileSource::try_new(path).unwrap()).collect();
        self.archive.index(files, cancel, Arc::new(|_| ())).await
    }

    /// All that was published.
    async fn published(&self) -> Vec<TopicMessage> {
        self.topic.close();
        let mut follower = self.topic.follow().await.unwrap();
        let mut messages = Vec::new();
        while let Some(delivery) = follower.receive().await.unwrap() {
            messages.push(delivery.message);
        }
        messages
    }
}

fn clips(messages: &[TopicMessage]) -> Vec<ClipRecord> {
    let clip = |message: &TopicMessage| match message {
        TopicMessage::Clip(clip) => Some(clip.clone()),
        _ => None,
    };
    messages.iter().filter_map(clip).collect()
}

fn sources(messages: &[TopicMessage]) -> Vec<SourceRecord> {
    let source = |message: &TopicMessage| match message {
        TopicMessage::Source(source) => Some(source.clone()),
        _ => None,
    };
    messages.iter().filter_map(source).collect()
}

/// A ledger that was told of some clips.
struct Remembers {
    coverage: Coverage,
    source: Option<SourceRecord>,
}

impl EarlierWork for Remembers {
    fn content_hash(&self, _path: &Path, _stamp: &FileStamp) -> Option<blake3::Hash> {
        None
    }

    fn known(&self, _source_id: &SourceId) -> Result<Known, Box<dyn Error + Send + Sync>> {
        Ok(Known { source: self.source.clone(), coverage: self.coverage.clone() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_becomes_records_in_order_between_two_words_about_their_source() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.mp4");
    video(&path);
    let setup = setup(NoEarlierWork);
    let outcomes = setup.index(&[&path], &Cancel::default()).await;

    assert!(matches!(outcomes[0].ended, Ended::Complete), "{outcomes:?}");
    assert_eq!((outcomes[0].clips.published, outcomes[0].clips.lost()), (15, 0));
    assert_eq!(outcomes[0].duration_ns, 8_000_000_000);
    let messages = setup.published().await;
    let (clips, sources) = (clips(&messages), sources(&messages));
    assert!(matches!(messages.first(), Some(TopicMessage::Source(begun)) if !begun.complete));
    assert!(matches!(messages.last(), Some(TopicMessage::Source(ended)) if ended.complete));
    assert_eq!(sources[1].duration_ns, Some(8_000_000_000));
    for (at, clip) in clips.iter().enumerate() {
        assert_eq!(clip.span.start_ns, at as u64 * 500_000_000);
        assert_eq!(clip.span.duration_ns(), 1_000_000_000);
        assert_eq!(clip.seq, at as u64);
        assert_eq!(clip.clip_id, clip.derived_id());
        let picture = image::load_from_memory(clip.thumbnail.as_ref().unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (160, 120));
    }
    assert_eq!(clips[3].media.as_ref().unwrap().path, path.to_string_lossy());
    let utc = |at: usize| clips[at].span.utc.unwrap().unix_ns;
    assert_eq!(utc(2) - utc(0), 1_000_000_000);
    assert_eq!(setup.encoder.looks.lock().unwrap().values().max(), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_run_adds_exactly_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.mp4");
    video(&path);
    let whole = setup(NoEarlierWork);
    whole.index(&[&path], &Cancel::default()).await;
    let all = clips(&whole.published().await);

    let done = [0, 1, 2, 3, 7, 8];
    let lost = ClipState::Lost(LostReason::EmbedError);
    let states = done.iter().map(|at| (all[*at].span, ClipState::Indexed));
    let coverage = states.chain([(all[5].span, lost)]).collect();
    let resumed = setup(Remembers { coverage, source: None });
    let outcomes = resumed.index(&[&path], &Cancel::default()).await;
    let rest = clips(&resumed.published().await);

    assert_eq!(outcomes[0].clips.known, 6);
    let expected: Vec<_> = all
        .iter()
        .enumerate()
        .filter(|(at, _)| !done.contains(at))
        .map(|(_, clip)| clip.clone())
        .collect();
    assert_eq!(rest, expected, "ids, vectors and all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_complete_is_not_read_and_one_cut_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.mp4");
    video(&path);
    let first = setup(NoEarlierWork);
    first.index(&[&path], &Cancel::default()).await;
    let messages = first.published().await;
    let source = sources(&messages).pop();
    let coverage: Coverage =
        clips(&messages).iter().map(|clip| (clip.span, ClipState::Indexed)).collect();

    let again = setup(Remembers { coverage: coverage.clone(), source: source.clone() });
    let outcomes = again.index(&[&path], &Cancel::default()).await;
    assert!(matches!(outcomes[0].ended, Ended::KnownAlready));
    assert_eq!(outcomes[0].clips.known, 15);
    assert_eq!(again.published().await, []);

    let moved = dir.path().join("moved.mp4");
    fs_err::rename(&path, &moved).unwrap();
    let after = setup(Remembers { coverage: coverage.clone(), source: source.clone() });
    after.index(&[&moved], &Cancel::default()).await;
    let told = sources(&after.published().await);
    assert_eq!(told[0].media.as_ref().unwrap().path, moved.to_string_lossy());
    assert!(told[0].complete);

    let other = WindowSpec::try_new(4, 1, Rate::try_new(4, 1).unwrap()).unwrap();
    let mut unasked = setup(Remembers { coverage: coverage.clone(), source: source.clone() });
    (unasked.archive.window, unasked.archive.window_is_wished) = (other, false);
    let outcomes = unasked.index(&[&moved], &Cancel::default()).await;
    assert!(matches!(outcomes[0].ended, Ended::KnownAlready), "{:?}", outcomes[0].ended);

    let mut otherwise = setup(Remembers { coverage, source });
    otherwise.archive.window = other;
    let outcomes = otherwise.index(&[&moved], &Cancel::default()).await;
    let line = outcomes[0].failure().unwrap().to_string();
    assert!(line.contains("was indexed in clips of 4 frames at 4/1 per second, every 2"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_whose_footage_was_gone_are_made_once_it_is_found_as_the_file_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.mp4");
    video(&path);
    let first = setup(NoEarlierWork);
    first.index(&[&path], &Cancel::default()).await;
    let messages = first.published().await;
    let source = sources(&messages).pop();
    let all = clips(&messages);
    let gone = ClipState::Lost(LostReason::FootageGone);
    let state = |clip: &ClipRecord| if clip.seq < 10 { ClipState::Indexed } else { gone };
    let coverage: Coverage = all.iter().map(|clip| (clip.span, state(clip))).collect();

    let mut again = setup(Remembers { coverage, source });
    again.archive.window = WindowSpec::try_new(4, 1, Rate::try_new(4, 1).unwrap()).unwrap();
    again.archive.window_is_wished = false;
    let outcomes = again.index(&[&path], &Cancel::default()).await;
    assert!(matches!(outcomes[0].ended, Ended::Complete), "{:?}", outcomes[0].ended);
    assert_eq!(outcomes[0].clips.known, 10);
    let made: Vec<_> = clips(&again.published().await).iter().map(|clip| clip.clip_id).collect();
    let missing: Vec<_> = all[10..].iter().map(|clip| clip.clip_id).collect();
    assert_eq!(made, missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_copies_and_good_files_go_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let [good, copy, bad] = ["a.mp4", "b.mp4", "c.mp4"].map(|name| dir.path().join(name));
    video(&good);
    fs_err::copy(&good, &copy).unwrap();
    fs_err::write(&bad, b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\nhttp://127.0.0.1:1/x.ts\n")
        .unwrap();
    let setup = setup(NoEarlierWork);
    let ended = Arc::new(Mutex::new(BTreeSet::new()));
    let heard = ended.clone();
    let files = [&good, &copy, &bad].map(|path| FileSource::try_new(path).unwrap()).into();
    let outcomes = setup
        .archive
        .index(
            files,
            &Cancel::default(),
            Arc::new(move |event: Event<'_>| {
                if matches!(event.news, News::Ended(_)) {
                    heard.lock().unwrap().insert(event.at);
                }
            }),
        )
        .await;

    let copies = outcomes[..2].iter().filter(|o| matches!(o.ended, Ended::SameAs(_))).count();
    let complete = outcomes[..2].iter().filter(|o| matches!(o.ended, Ended::Complete)).count();
    assert_eq!((copies, complete), (1, 1), "{outcomes:?}");
    let line = outcomes[2].failure().unwrap().to_string();
    assert!(line.contains("c.mp4` is a playlist ("), "{line}");
    assert_eq!(*ended.lock().unwrap(), BTreeSet::from([0, 1, 2]));
    let messages = setup.published().await;
    assert_eq!(clips(&messages).len(), 15);
    assert_eq!(sources(&messages).len(), 2, "what is no video is no source");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_leaves_whole_records_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.mp4");
    video(&path);
    let mut setup = setup(NoEarlierWork);
    // A topic that takes little makes the file wait.
    setup.topic = Arc::new(MemoryTopic::new(NonZeroUsize::new(2).unwrap()));
    setup.archive.topic = setup.topic.clone();
    let cancel = Cancel::default();
    let stopper = cancel.clone();
    let topic = setup.topic.clone();
    let reader = tokio::spawn(async move {
        let mut follower = topic.follow().await.unwrap();
        let mut messages = Vec::new();
        while let Some(delivery) = follower.receive().await.unwrap() {
            follower.commit(delivery.position).await.unwrap();
            messages.push(delivery.message);
            if messages.len() == 3 {
                stopper.cancel();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        messages
    });
    let outcomes = setup.index(&[&path, &path], &cancel).await;
    setup.topic.close();
    let messages = reader.await.unwrap();

    let stopped = outcomes.iter().filter(|o| matches!(o.ended, Ended::Stopped)).count();
    assert!(stopped >= 1, "{outcomes:?}");
    let clips = clips(&messages);
    let published: u64 = outcomes.iter().map(|outcome| outcome.clips.published).sum();
    assert_eq!(clips.len() as u64, published);
    assert!(clips.len() >= 2, "what was read is published");
    assert!(sources(&messages).iter().all(|source| !source.complete));
}

#[tokio::test]
async fn a_copy_takes_over_where_the_first_fails_and_is_the_same_where_it_does_well() {
    let dir = tempfile::tempdir().unwrap();
    let [first, copy] = ["a.mp4", "b.mp4"].map(|name| {
        fs_err::write(dir.path().join(name), "same").unwrap();
        FileSource::try_new(&dir.path().join(name)).unwrap()
    });
    let id = SourceId::try_new("same").unwrap();
    for does_well in [false, true] {
        let claims = Claims::default();
        let claim = claims.claim(&id, &first).await.unwrap();
        let (copied, ()) = tokio::join!(claims.claim(&id, &copy), async {
            tokio::task::yield_now().await;
            if does_well {
                claim.settle();
            } else {
                drop(claim);
            }
        });
        match copied {
            Ok(_) => assert!(!does_well),
            Err(other) => assert!(does_well && other == first.path()),
        }
    }
}
