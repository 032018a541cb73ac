//! `footage source`: what is indexed and watched, adding to it, taking out of it.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Subcommand, ValueEnum};
use footage_clip::SourceKind;

use crate::cluster;
use crate::compose::House;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::requests::selection::Named;
use crate::requests::sources::{
    ListedSource, RecordingState, RemoveRequest, SourcesReply, States, meant,
};
use crate::settings::secret::Secret;
use crate::settings::sources::{OwnSources, SourceDefinition, SourceList, named};
use crate::terminal::{counted, duration, escaped, masked};

/// Columns that names get in a list; longer ones push their line aside.
const WIDEST_NAME: usize = 200;

/// List what is indexed and watched, add live sources, or remove sources
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List every source: its id, its name, how much of it is indexed, and how it is if it is live
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a camera, or change one that was added. A running `footage watch` takes it up at once
    Add(Added),
    /// Remove sources: their vectors, thumbnails, coverage and recordings. Files that were indexed
    /// are left alone
    Remove {
        /// Id, name or path of a source; a name stands for every source that has it
        #[arg(value_name = "SOURCE", required = true)]
        sources: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage source add gate rtsp://10.0.0.5/stream1 --user viewer --password-stdin < secret
  footage source add gate rtsps://10.0.0.5/1 --password-env GATE_PASSWORD --user viewer --record
  footage source add trial film.mp4 --live --loop      a file, played as if it were a camera")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Added {
    /// Its id: chosen once, and never changed
    #[arg(value_name = "ID")]
    id: String,
    /// An address (`rtsp://`, `rtsps://`, `http://`, `https://`), `v4l2:///dev/video0`, or a file
    /// with --live
    #[arg(value_name = "URI")]
    uri: String,
    /// Name for people
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// User name of the camera
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Read the password from standard input; it is kept in the data directory, readable by you
    #[arg(long, conflicts_with_all = ["password_env", "password_file"])]
    password_stdin: bool,
    /// Environment variable of `footage watch` that holds the password
    #[arg(long, value_name = "NAME", conflicts_with = "password_file")]
    password_env: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How RTSP carries the pictures
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// Certificates (PEM) to trust for this source besides the system's
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Keep the footage as it arrives
    #[arg(long)]
    record: bool,
    /// Remove clips and footage after so many days; 0 means never
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<f64>,
    /// Remove the oldest footage beyond so many GiB; 0 means no bound
    #[arg(long, value_name = "GIB")]
    keep_gib: Option<f64>,
    /// Embed every clip, also where nothing changes
    #[arg(long)]
    no_gate: bool,
    /// Play a file at its own pace, as a trial of a camera
    #[arg(long)]
    live: bool,
    /// Begin such a file again at its end
    #[arg(long = "loop", requires = "live")]
    loops: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Auto,
    Tcp,
    Udp,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: Args, house: &House) -> Result<Outcome> {
    match args.verb {
        Verb::List { json } => list(&all(house).await?, json),
        Verb::Add(added) => added.add(house).await,
        Verb::Remove { sources, yes } => remove(&sources, yes, house).await,
    }
}

/// Every source: as the running `footage watch` tells it, or as the index does.
async fn all(house: &House) -> Result<Vec<ListedSource>> {
    let data_dir = &house.settings.data_dir;
    if let Some(instance) = Instance::running(data_dir).await? {
        return Ok(instance.sources().await?.sources);
    }
    if house.settings.cluster.has_kafka() {
        return Ok(cluster::sources(house).await?.sources);
    }
    let stated = SourceList::read(house.layers.sources(), data_dir)?;
    let states: States = stated.idle();
    if !states.is_empty() && !house.is_indexed()? {
        return Ok(SourcesReply::of_states(&states).sources);
    }
    let store = house.open_existing_store().await?;
    Ok(SourcesReply::of(&store, &states).await?.sources)
}

impl Added {
    async fn add(self, house: &House) -> Result<Outcome> {
        let id = named(&self.id)?;
        let data_dir = &house.settings.data_dir;
        let list = SourceList::read(house.layers.sources(), data_dir)?;
        if let Some(origin) = list.stated_at.get(&id) {
            bail!("source `{id}` is stated in {origin}: change it there");
        }
        let definition = self.definition()?;
        definition.check(&id)?;
        definition.camera_elsewhere(&id, &house.settings)?;
        if house.settings.cluster.has_kafka() {
            cluster::announce(house, &id, &definition).await?;
            writeln!(
                stdout(),
                "told the cluster of {id}: one of its pipelines begins to watch it"
            )?;
            return Ok(Outcome::Done);
        }
        if let Some(instance) = Instance::running(data_dir).await? {
            instance.add_source(id.as_str(), &definition).await?;
            writeln!(stdout(), "watching {id}: `footage source list` shows how it is")?;
            return Ok(Outcome::Done);
        }
        let mut own = OwnSources::read(data_dir)?;
        own.sources.insert(id.clone(), definition);
        own.write(data_dir)?;
        writeln!(stdout(), "added {id}: `footage watch` begins to watch it")?;
        Ok(Outcome::Done)
    }

    fn definition(self) -> Result<SourceDefinition> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).with_context(|| format!("{} is no path", path.display()))
        };
        let password = if self.password_stdin {
            let mut line = String::new();
            stdin().lock().read_line(&mut line)?;
            let password = line.trim_end_matches(['\r', '\n']);
            ensure!(!password.is_empty(), "there is no password on standard input");
            Some(Secret::new(password))
        } else {
            None
        };
        let uri = if self.live && !self.uri.contains("://") {
            let path = absolute(PathBuf::from(&self.uri))?;
            path.to_str().context("the file's path is no UTF-8")?.to_owned()
        } else {
            self.uri
        };
        let transport = self.transport.map(|transport| {
            let word = match transport {
                Transport::Auto => "auto",
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            word.to_owned()
        });
        Ok(SourceDefinition {
            label: self.label,
            user: self.user,
            password,
            password_env: self.password_env,
            password_file: self.password_file.map(absolute).transpose()?,
            transport,
            tls_ca: self.tls_ca.map(absolute).transpose()?,
            gate: self.no_gate.then_some(false),
            record: self.record.then_some(true),
            keep_days: self.keep_days,
            keep_gib: self.keep_gib,
            live: self.live,
            loops: self.loops,
            ..SourceDefinition::at(uri)
        })
    }
}

/// What there is to say about a source in a line.
fn state(source: &ListedSource) -> String {
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let mut state = format!(
        "{}, {} searchable",
        counted(source.indexed_clips, "clip"),
        duration(ns(source.indexed_s + source.gated_s))
    );
    if source.lost_s > 0.0 {
        state = format!("{state}, {} lost", duration(ns(source.lost_s)));
    }
    if let Some(live) = &source.live {
        let why = live.reason.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        let times = match live.reconnects {
            0 => String::new(),
            times => format!(", {}", counted(times, "reconnect")),
        };
        let since = live.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
        let recording = live.recording.as_ref().map(recording).unwrap_or_default();
        state = format!("{}{why}{since}{times}{recording}, {state}", live.state);
    } else if let Some(failure) = &source.failure {
        state = format!("{state}, failed: {failure}");
    } else if source.kind == SourceKind::Camera {
        state = format!("not watched, {state}");
    } else if !source.is_complete {
        state = format!("{state}, not to the end yet");
    }
    escaped(&masked(&state))
}

/// How keeping a source's footage goes.
fn recording(recording: &RecordingState) -> String {
    let kept = recording.failure.as_ref().map_or_else(
        || format!(", {:.1} MiB recorded", recording.bytes as f64 / f64::from(1 << 20)),
        |why| format!(", not recorded: {why}"),
    );
    match recording.left_out_pictures {
        0 => kept,
        left_out => format!("{kept} ({} left out)", counted(left_out, "picture")),
    }
}

fn list(listed: &[ListedSource], json: bool) -> Result<Outcome> {
    let mut out = stdout().lock();
    if json {
        let listed = serde_json::json!({ "sources": listed });
        writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Outcome::Done);
    }
    if listed.is_empty() {
        writeln!(out, "no sources: index some footage with `footage index PATH`")?;
    }
    let width = |source: &ListedSource| escaped(&source.name).chars().count();
    let width = listed.iter().map(width).max().unwrap_or(0).min(WIDEST_NAME);
    for source in listed {
        let (id, name) = (&source.source_id, escaped(&source.name));
        writeln!(out, "{id}  {name:width$}  {}", state(source))?;
    }
    Ok(Outcome::Done)
}

async fn remove(wanted: &[String], yes: bool, house: &House) -> Result<Outcome> {
    let listed = all(house).await?;
    let wanted: Vec<Named> = wanted.iter().map(|given| Named::here(given)).collect();
    let meant = meant(&wanted, &listed)?;
    if !yes && !confirmed(&meant)? {
        writeln!(stdout(), "nothing was removed")?;
        return Ok(Outcome::Done);
    }
    if house.settings.cluster.has_kafka() {
        for source in meant {
            cluster::tell(house, &source.source_id, &cluster::Wanted::Removed).await?;
            let name = escaped(&source.name);
            writeln!(stdout(), "told the cluster to remove {name}: pipelines and indexers do so")?;
        }
        return Ok(Outcome::Done);
    }
    let sources = meant.iter().map(|source| source.source_id.clone()).collect();
    let request = RemoveRequest { sources };
    let reply = match Instance::running(&house.settings.data_dir).await? {
        Some(instance) => instance.remove_sources(&request).await?,
        None => request.answer(house, &house.open_existing_store().await?, None).await?,
    };
    for removed in &reply.removed {
        let name = meant.iter().find(|source| source.source_id == removed.source_id);
        let name = name.map_or(removed.source_id.to_string(), |source| escaped(&source.name));
        writeln!(stdout(), "removed {name} ({})", counted(removed.clips, "clip"))?;
    }
    Ok(Outcome::Done)
}

fn confirmed(meant: &[&ListedSource]) -> Result<bool> {
    for source in meant {
        let name = escaped(&source.name);
        writeln!(stdout(), "{}  {name}  {}", source.source_id, state(source))?;
    }
    write!(stdout(), "Remove {} from the index? [y/N] ", counted(meant.len() as u64, "source"))?;
    stdout().flush()?;
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer)?;
    ensure!(read > 0, "nobody confirmed the removal: run it with --yes to remove without asking");
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
