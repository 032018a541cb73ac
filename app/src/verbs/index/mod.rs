//! `footage index`: files to moments that can be searched.

mod board;
mod captions;
mod report;

use std::io::{Write as _, stderr, stdout};
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::SourceId;
use footage_index::{EmbeddedIndex, IndexError, remove_source};
use footage_indexer::Indexer;
use footage_model::Model;
use footage_pipeline::{
    Cancel, Discovered, Ended, FileOutcome, FileProblem, FileSource, IdentifyError, News, discover,
};
use footage_topic::{MemoryTopic, Topic};

use self::board::Board;
use self::captions::{Captioned, Captions};
use self::report::{Report, Totals};
use crate::captions::Captioner;
use crate::cli::Stated;
use crate::cluster;
use crate::compose::{House, Store};
use crate::earlier::Remembered;
use crate::outcome::{Outcome, in_one_line};
use crate::terminal::{counted, escaped};

/// Index video files, so that they can be searched
///
/// Takes files, directories (with everything below them) and patterns, in any container and codec
/// that `GStreamer` plays. What is indexed already is skipped, also under another name. After Ctrl-C,
/// or a crash, the same command goes on where it stopped. With `kafka.brokers` stated, the pipelines of
/// the cluster do the work.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage index ~/Videos
  footage index garden.mp4 'cameras/*/2026-05-*.mkv'
  footage index --decode keyframes archive/      many times cheaper, sees only keyframes

Exit code: 0 all is indexed, 1 some files failed (each has a line that says why), 2 it could not
start, 130 interrupted.")]
pub(crate) struct Args {
    /// Files, directories or patterns
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What of a file is decoded: all, keyframes or auto [setting: decode.mode]
    #[arg(long, value_name = "MODE", value_parser = ["auto", "keyframes", "all"])]
    decode: Option<String>,
    /// Read files again even where path, size and time say that they are known
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Stated> {
        let mode = self.decode.clone();
        mode.into_iter().map(|mode| ("decode.mode", mode, "--decode")).collect()
    }
}

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let cancel = stopped_by_signals()?;
    let is_cluster = house.settings.cluster.has_kafka();
    ensure!(
        !is_cluster || (args.decode.is_none() && !args.force),
        "--decode and --force are for one machine: in a cluster, how files are read is set where \
         pipelines run"
    );
    let found = discover(&args.paths);
    let mut report = Report::default();
    for error in &found.errors {
        report.unusable(&error.to_string());
    }
    if found.files.is_empty() {
        bail!("there is nothing to index");
    }
    Report::skipped(&found.skipped);
    if is_cluster {
        return submitted(house, found.files, &cancel, report).await;
    }
    let captioner = Captioner::open(house)?;
    let model = Arc::new(house.open_model()?);
    let store = house.open_store(&model).await?;
    store.index.optimize_in_background().await?;
    let work = Work { house, store: &store, model, cancel: &cancel, force: args.force };
    let ended = work.index(found, captioner, &mut report).await;
    // Also after a failure: what is there is made durable, and the directory is free again.
    let closed = close(store.index, &cancel).await;
    let (totals, captioned) = ended?;
    closed?;
    report.summary(&totals);
    if let Some(captioned) = captioned {
        Report::captions(&captioned);
    }
    Ok(report.outcome(cancel.is_cancelled()))
}

/// Tells the cluster of files, which its pipelines then index.
async fn submitted(
    house: &House,
    files: Vec<FileSource>,
    cancel: &Cancel,
    mut report: Report,
) -> Result<Outcome> {
    let told = cluster::submit(house, files, cancel).await?;
    for why in &told.unreadable {
        report.unusable(why);
    }
    let files = counted(told.files as u64, "file");
    writeln!(
        stdout(),
        "told the cluster of {files}: `footage source list` shows how far they are"
    )?;
    Ok(report.outcome(cancel.is_cancelled()))
}

/// Ctrl-C, or a polite kill, ends the sources, and what was begun drains. A second one ends at once:
/// that loses nothing either, but repeats a little work.
pub(crate) fn stopped_by_signals() -> Result<Cancel> {
    let cancel = Cancel::default();
    let asked = cancel.clone();
    ctrlc::set_handler(move || {
        if asked.is_cancelled() {
            exit(130);
        }
        asked.cancel();
        // Where nobody reads stderr, the message is lost and the stop is not.
        drop(writeln!(stderr(), "\nstopping: what was begun is finished; once more stops at once"));
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(cancel)
}

/// Waits for the search graph that may be in the making, unless somebody asks to stop: the next run
/// makes it then.
async fn close(index: EmbeddedIndex, cancel: &Cancel) -> Result<(), IndexError> {
    let is_finishing = || index.end_optimizing() && !cancel.is_cancelled();
    if is_finishing() {
        // Where nobody reads stderr, the message is lost and the graph is not.
        drop(writeln!(stderr(), "finishing the search graph; Ctrl-C leaves it to the next run"));
    }
    while is_finishing() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if cancel.is_cancelled() { index.close_at_once().await } else { index.close().await }
}

/// A run over some files.
struct Work<'a> {
    house: &'a House,
    store: &'a Store,
    model: Arc<Model>,
    cancel: &'a Cancel,
    force: bool,
}

impl Work<'_> {
    /// pipeline -> topic -> indexer -> index, joined in this process.
    async fn index(
        &self,
        found: Discovered,
        captioner: Option<Captioner>,
        report: &mut Report,
    ) -> Result<(Totals, Option<Captioned>)> {
        let settings = &self.house.settings;
        let topic = Arc::new(MemoryTopic::new(settings.index.queue_records));
        let follower = topic.follow().await?;
        let index = Arc::new(self.store.index.clone());
        let indexer =
            Arc::new(Indexer::new(index, self.store.ledger.clone(), settings.index.indexer()));
        let committed = indexer.progress();
        let keeping = tokio::spawn({
            let (topic, cancel) = (topic.clone(), self.cancel.clone());
            async move {
                let kept = indexer.run(follower).await;
                if kept.is_err() {
                    // Nobody takes records any more: whoever waits to publish must not wait on.
                    cancel.cancel();
                    topic.close();
                }
                kept
            }
        });

        let earlier = Arc::new(Remembered::new(self.store.ledger.clone(), self.force));
        let (archive, stage) = self.house.archive(&self.model, topic.clone(), earlier.clone())?;
        let board = Arc::new(Board::new(&found.files, committed.clone(), earlier.clone()));
        let captions = captioner.map(|captioner| {
            Captions::begin(
                captioner,
                found.files.len(),
                self.house,
                self.store,
                committed,
                self.cancel.clone(),
            )
        });
        let on_event = {
            let (board, earlier) = (board.clone(), earlier.clone());
            let ended = captions.as_ref().and_then(Captions::ended);
            Arc::new(move |event: footage_pipeline::Event<'_>| {
                board.hear(&event);
                earlier.hear(&event);
                if let (Some(ended), Some(source)) = (&ended, completed(&event)) {
                    // There is room for all. Nobody listens where describing has ended with an error,
                    // which is told later.
                    drop(ended.try_send(source.clone()));
                }
            })
        };
        let showing = tokio::spawn(board.clone().show());
        let outcomes = archive.index(found.files, self.cancel, on_event).await;
        drop(archive);
        topic.close();
        let kept = keeping.await.context("the indexer ended unexpectedly")?;
        let stage = tokio::task::spawn_blocking(|| stage.join()).await?;
        board.end(kept.is_ok());
        showing.await.context("the progress display ended unexpectedly")?;
        earlier.settle().await;
        if let Err(error) = kept {
            let unfinished = unfinished(&outcomes);
            let told = format!("{}; {unfinished} not finished", in_one_line(&error.into()));
            bail!("{told}: nothing that was indexed is lost, and the next run goes on from there");
        }
        stage.context("the model's thread ended unexpectedly")?;
        self.forget_changed(&outcomes).await?;
        report.count(&outcomes);
        let totals = Totals::of(&outcomes, board.elapsed());
        let captioned = match captions {
            Some(captions) => Some(captions.finish().await?),
            None => None,
        };
        Ok((totals, captioned))
    }

    async fn forget_changed(&self, outcomes: &[FileOutcome]) -> Result<()> {
        for outcome in outcomes.iter().filter(|outcome| has_changed(outcome)) {
            if let Some(identity) = &outcome.identity {
                remove_source(&self.store.index, &self.store.ledger, &identity.source_id).await?;
            }
        }
        Ok(())
    }
}

/// The source of a file that was read to its end just now.
fn completed<'a>(event: &footage_pipeline::Event<'a>) -> Option<&'a SourceId> {
    match event.news {
        News::Ended(FileOutcome { ended: Ended::Complete, identity: Some(identity), .. }) => {
            Some(&identity.source_id)
        }
        _ => None,
    }
}

/// Whether a file changed while it was read for the first time, so that its clips are of no file
/// that there ever was.
fn has_changed(outcome: &FileOutcome) -> bool {
    let is_changing = outcome.failure().is_some_and(|failure| {
        matches!(failure.problem, FileProblem::Identify(IdentifyError::Changing))
    });
    is_changing && outcome.clips.known == 0
}

fn unfinished(outcomes: &[FileOutcome]) -> String {
    use Ended::{Complete, KnownAlready, SameAs};
    let is_done =
        |outcome: &&FileOutcome| !matches!(outcome.ended, Complete | KnownAlready | SameAs(_));
    counted(outcomes.iter().filter(is_done).count() as u64, "file")
}

/// A file's path as a person would write it here, safe for a terminal.
fn called(path: &std::path::Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    escaped(&short.display().to_string())
}
