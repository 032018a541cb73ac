//! `footage source`: what is indexed, and taking it out again.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::path::Path;

use anyhow::{Result, ensure};
use clap::Subcommand;
use footage_clip::{SourceId, SourceRecord, Span};
use footage_index::{FindClips as _, remove_source};
use footage_search::KnownSource;
use serde::Serialize;

use crate::compose::{House, Store};
use crate::outcome::Outcome;
use crate::terminal::{counted, duration, escaped};
use crate::verbs::search::named;
use crate::when::utc_text;

/// List what is indexed, or remove it from the index
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List every source: its id, its name, how much of it is indexed
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove sources: their vectors, thumbnails and coverage. The files themselves are left alone
    Remove {
        /// Id, name or path of a source; a name stands for every source that has it
        #[arg(value_name = "SOURCE", required = true)]
        sources: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: Args, house: &House) -> Result<Outcome> {
    let store = house.open_existing_store().await?;
    let records = store.ledger.sources()?;
    match args.verb {
        Verb::List { json } => list(&store.known(records, false).await?, json),
        Verb::Remove { sources, yes } => remove(&sources, yes, &records, &store, house).await,
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    source_id: &'a SourceId,
    name: &'a str,
    file: Option<&'a str>,
    added: String,
    is_complete: bool,
    failure: Option<&'a str>,
    duration_s: Option<f64>,
    indexed_clips: u64,
    gated_clips: u64,
    lost_clips: u64,
    indexed_s: f64,
    gated_s: f64,
    lost_s: f64,
}

impl<'a> Listed<'a> {
    fn of(source: &'a KnownSource) -> Self {
        let record = &source.record;
        let summary = source.coverage.summary(Span::new(0, u64::MAX));
        let seconds = |ns: u64| ns as f64 / 1e9;
        let added_s = i64::try_from(record.added_unix_s).unwrap_or(i64::MAX);
        Self {
            source_id: &record.source_id,
            name: &record.name,
            file: record.media.as_ref().map(|media| media.path.as_str()),
            added: utc_text(added_s.saturating_mul(1_000_000)),
            is_complete: record.complete,
            failure: record.failure.as_deref(),
            duration_s: record.duration_ns.map(seconds),
            indexed_clips: summary.indexed_clips,
            gated_clips: summary.gated_clips,
            lost_clips: summary.lost_clips,
            indexed_s: seconds(summary.indexed_ns),
            gated_s: seconds(summary.gated_ns),
            lost_s: seconds(summary.lost_ns.values().sum()),
        }
    }

    fn state(&self) -> String {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let mut state = format!(
            "{}, {} searchable",
            counted(self.indexed_clips, "clip"),
            duration(ns(self.indexed_s + self.gated_s))
        );
        if self.lost_s > 0.0 {
            state = format!("{state}, {} lost", duration(ns(self.lost_s)));
        }
        if let Some(failure) = self.failure {
            state = format!("{state}, failed: {failure}");
        } else if !self.is_complete {
            state = format!("{state}, not to the end yet");
        }
        state
    }
}

fn list(known: &[KnownSource], json: bool) -> Result<Outcome> {
    let mut out = stdout().lock();
    let listed: Vec<Listed> = known.iter().map(Listed::of).collect();
    if json {
        let listed = serde_json::json!({ "sources": listed });
        writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Outcome::Done);
    }
    if listed.is_empty() {
        writeln!(out, "no sources: index some footage with `footage index PATH`")?;
    }
    let width = |source: &Listed| escaped(source.name).chars().count();
    let width = listed.iter().map(width).max().unwrap_or(0);
    for source in &listed {
        let state = escaped(&source.state());
        writeln!(out, "{}  {:width$}  {state}", source.source_id, escaped(source.name))?;
    }
    Ok(Outcome::Done)
}

async fn remove(
    wanted: &[String],
    yes: bool,
    records: &[SourceRecord],
    store: &Store,
    house: &House,
) -> Result<Outcome> {
    let mut ids = Vec::new();
    for wanted in wanted {
        ids.extend(named(wanted, records)?);
    }
    ids.sort();
    ids.dedup();
    let meant = records.iter().filter(|record| ids.contains(&record.source_id)).cloned();
    let meant = store.known(meant, false).await?;
    let meant: Vec<Listed> = meant.iter().map(Listed::of).collect();
    if !yes && !confirmed(&meant)? {
        writeln!(stdout(), "nothing was removed")?;
        return Ok(Outcome::Done);
    }
    for source in &meant {
        remove_thumbnails(&house.thumbnails(), source.source_id, store).await?;
        let removed = remove_source(&store.index, &store.ledger, source.source_id).await?;
        let clips = counted(removed.clips, "clip");
        writeln!(stdout(), "removed {} ({clips})", escaped(source.name))?;
    }
    Ok(Outcome::Done)
}

fn confirmed(meant: &[Listed]) -> Result<bool> {
    for source in meant {
        let state = escaped(&source.state());
        writeln!(stdout(), "{}  {}  {state}", source.source_id, escaped(source.name))?;
    }
    write!(stdout(), "Remove {} from the index? [y/N] ", counted(meant.len() as u64, "source"))?;
    stdout().flush()?;
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer)?;
    ensure!(read > 0, "nobody confirmed the removal: run it with --yes to remove without asking");
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Takes away the thumbnails that searches wrote, while the index still knows whose they are. A
/// search writes them again where the removal goes no further.
async fn remove_thumbnails(folder: &Path, source: &SourceId, store: &Store) -> Result<()> {
    let mut after = None;
    loop {
        let ids = store.index.ids(source, after, 4096).await?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = Some(*last);
        for id in &ids {
            let path = folder.join(format!("{id}.jpg"));
            match fs_err::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }
}
