//! `footage watch`: live sources, until stopped.

use std::collections::BTreeMap;
use std::io::{Write as _, stderr};
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use footage_clip::SourceId;
use footage_indexer::{Indexer, IndexerSettings};
use footage_pipeline::{EmbedSettings, EmbedStage};
use footage_topic::{MemoryTopic, Topic};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::captions::{Captioner, LiveCaptions};
use crate::compose::House;
use crate::instance::Instance;
use crate::instance::server::{self, Answering};
use crate::outcome::{Outcome, in_one_line};
use crate::requests::Desk;
use crate::requests::sources::LiveState;
use crate::terminal::tell;
use crate::watching::{Searchable, Watching, live_state, reconcile, retain};

/// How often the files that state sources are looked at for a change.
const LOOK: Duration = Duration::from_secs(2);

/// How long a stop may take before it is forced.
const DRAIN: Duration = Duration::from_secs(20);

/// How long requests may take that are under way at a stop.
const ANSWERED: Duration = Duration::from_secs(3);

/// How long to wait for room on a full disk before trying again.
const ROOM: Duration = Duration::from_secs(5);

/// Watch live sources, and make what they show searchable within seconds
///
/// Watches every source there is, until Ctrl-C. A source that fails is tried again for ever, and
/// keeps no other from being watched. Sources can be added, changed and removed meanwhile, and
/// everything can be searched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage source add gate rtsp://10.0.0.5/stream1 --user viewer --password-stdin < secret
  footage watch &
  footage search \"a red car turns left\" --since 10m
  footage coverage gate

Sources are added with `footage source add`, or stated in footage.toml; a change of that file is taken
up within seconds.")]
pub(crate) struct Args {}

#[tokio::main]
pub(crate) async fn run(_args: &Args, house: &House) -> Result<Outcome> {
    let data_dir = &house.settings.data_dir;
    if Instance::running(data_dir).await?.is_some() {
        bail!("{} is watched already, by another `footage watch`", data_dir.display());
    }
    let stop = stopped_by_signals()?;
    let monitors = match house.settings.metrics_listen {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}: choose another for `metrics.listen`")
        })?),
        None => None,
    };
    let captioner = Captioner::open(house)?;
    let model = Arc::new(house.open_model()?);
    let store = Arc::new(house.open_store(&model).await?);
    reconcile(&store, model.dim()).await?;
    store.index.optimize_in_background().await?;
    let desk = Desk { house: Arc::new(house.clone()), model, store };
    let ended = watched(&desk, monitors, captioner, stop).await;
    let store = Arc::into_inner(desk.store).context("the index is still in use")?;
    // Also after a failure: what is there is made durable, and the directory is free again.
    store.index.close_at_once().await?;
    ended.map(|()| Outcome::Done)
}

/// Ctrl-C, or a polite kill, ends the sources, and what was begun drains. A second one ends at once.
pub(crate) fn stopped_by_signals() -> Result<watch::Receiver<bool>> {
    let (asked, stop) = watch::channel(false);
    ctrlc::set_handler(move || {
        if asked.send_replace(true) {
            exit(130);
        }
        // Where nobody reads stderr, the message is lost and the stop is not.
        drop(writeln!(stderr(), "stopping: what was begun is finished; once more stops at once"));
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// cameras -> topic -> indexer -> index, joined in this process, and open to others.
async fn watched(
    desk: &Desk,
    monitors: Option<TcpListener>,
    captioner: Option<Captioner>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let settings = &desk.house.settings;
    let topic = Arc::new(MemoryTopic::new(settings.index.queue_records));
    let waiting = EmbedSettings { live_queue_clips: settings.live.queue_clips, ..settings.embed };
    let (embed, stage) = EmbedStage::spawn(desk.model.clone(), waiting)
        .context("cannot start the model's thread")?;
    let captions = captioner.map(|captioner| {
        let (house, index) = (desk.house.clone(), desk.store.index.clone());
        Arc::new(LiveCaptions::new(captioner, house, index, embed.clone()))
    });
    let index = Arc::new(desk.store.index.clone());
    let searchable = Arc::new(Searchable::new(index, captions.clone()));
    let indexing =
        IndexerSettings { max_wait: settings.live.batch_wait, ..settings.index.indexer() };
    let indexer = Indexer::new(searchable.clone(), desk.store.ledger.clone(), indexing);
    let mut keeping = tokio::spawn(keep(indexer, topic.clone()));

    let watching = Watching::start(desk, embed, topic.clone(), searchable).await?;
    let watching = Arc::new(watching);
    let (end, ended) = watch::channel(false);
    let answering = Answering { desk: desk.clone(), watching: watching.clone() };
    let mut others = tokio::task::JoinSet::new();
    others.spawn({
        let (data_dir, answering, ended) =
            (settings.data_dir.clone(), answering.clone(), ended.clone());
        async move { server::answer(&data_dir, answering, ended).await }
    });
    if let Some(listener) = monitors {
        others.spawn(server::tell_monitors(listener, answering.clone(), ended.clone()));
    }
    others.spawn(retain(desk.clone(), watching.clone(), ended.clone()));
    others.spawn(look_for_changes(watching.clone(), ended.clone()));
    others.spawn(tell_changes(watching.clone(), ended.clone()));
    let describing =
        captions.clone().map(|captions| tokio::spawn(async move { captions.run(ended).await }));
    drop(answering);

    let failed = tokio::select! {
        _ = stop.wait_for(|stopped| *stopped) => None,
        kept = &mut keeping => Some(match kept {
            Ok(Ok(())) => anyhow::anyhow!("the topic ended"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }),
        Some(ended) = others.join_next() => Some(match ended {
            Ok(Ok(())) => anyhow::anyhow!("a part of it ended by itself"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }),
    };
    end.send_replace(true);
    if let (Some(describing), Some(captions)) = (describing, captions) {
        // What it is at may take as long as a description does.
        describing.abort();
        captions.end();
        let tally = captions.tally();
        tell(&format!(
            "captions: {} made, {} clips left to `footage caption --missing`",
            tally.made,
            tally.left()
        ));
    }
    // Whoever is still being answered has had time to listen.
    let ended = async { while others.join_next().await.is_some() {} };
    if tokio::time::timeout(ANSWERED, ended).await.is_err() {
        others.shutdown().await;
    }
    let watching = Arc::into_inner(watching).context("the sources are still in use")?;
    let drained = async {
        watching.stop().await;
        topic.close();
        if failed.is_none() {
            keeping.await.context("the indexer ended unexpectedly")??;
        }
        tokio::task::spawn_blocking(|| stage.join()).await??;
        anyhow::Ok(())
    };
    let drained = tokio::time::timeout(DRAIN, drained).await;
    match (failed, drained) {
        (Some(error), _) => Err(error.context("watching ended; nothing that was indexed is lost")),
        (None, Ok(drained)) => drained,
        (None, Err(_)) => {
            bail!("not all that was begun could be finished in {DRAIN:?}: it is lost")
        }
    }
}

/// Brings into the index what the topic holds, until it is closed and drained. A full disk is waited
/// out: what finds no place to wait meanwhile is lost, and accounted for.
async fn keep(indexer: Indexer, topic: Arc<MemoryTopic>) -> Result<()> {
    let mut tried: Option<Instant> = None;
    loop {
        let error = match indexer.run(topic.follow().await?).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_no_space() => error,
            Err(error) => return Err(error.into()),
        };
        // Once for as long as it lasts.
        if tried.is_none_or(|tried| tried.elapsed() > 2 * ROOM) {
            tell(&format!("nothing is indexed at present, trying again: {error}"));
        }
        tokio::time::sleep(ROOM).await;
        tried = Some(Instant::now());
    }
}

/// Why nothing of a source is recorded at the moment, although it is to be.
fn unrecorded(state: &LiveState) -> Option<&str> {
    state.recording.as_ref()?.failure.as_deref()
}

/// Takes up changes of the files that state sources, until `ended`.
async fn look_for_changes(watching: Arc<Watching>, mut ended: watch::Receiver<bool>) -> Result<()> {
    let mut told = String::new();
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        match watching.reload().await {
            Ok(()) => told.clear(),
            Err(error) => {
                let line = in_one_line(&error);
                // A mistake stays until somebody corrects it: once is enough.
                if line != told {
                    tell(&format!("{line}; what was watched before goes on"));
                    told = line;
                }
            }
        }
    }
}

/// One line whenever a source's state changes, until `ended`.
async fn tell_changes(watching: Arc<Watching>, mut ended: watch::Receiver<bool>) -> Result<()> {
    let mut changes = watching.changes();
    let mut told: BTreeMap<SourceId, LiveState> = BTreeMap::new();
    loop {
        let now: BTreeMap<SourceId, LiveState> = {
            let statuses = changes.borrow_and_update();
            statuses.iter().map(|(id, status)| (id.clone(), live_state(status))).collect()
        };
        for (id, state) in &now {
            let is_told =
                |told: &LiveState| told.state == state.state && told.reason == state.reason;
            if !told.get(id).is_some_and(is_told) {
                let why = state.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
                tell(&format!("{id}: {}{why}", state.state));
            }
            let before = told.get(id).and_then(unrecorded);
            match (before, unrecorded(state)) {
                (before, Some(why)) if before != Some(why) => {
                    tell(&format!("{id}: not recorded: {why}"));
                }
                (Some(_), None) => tell(&format!("{id}: recorded again")),
                _ => {}
            }
        }
        for id in told.keys().filter(|id| !now.contains_key(*id)) {
            tell(&format!("{id}: not watched any more"));
        }
        told = now;
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}
