//! `footage model migrate`: another model for what is indexed.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::Fingerprint;
use footage_index::{
    Beside as _, Collection, EmbeddedIndex, Filter, FindClips as _, KeepClips as _, Manifest,
};
use footage_model::Model;
use footage_search::Scores;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::compose::{House, Store, model_ref};
use crate::instance::server::answer_reading;
use crate::migration::{Brought, Compared, Migration, Sentences, compare};
use crate::outcome::Outcome;
use crate::requests::Desk;
use crate::terminal::{counted, escaped, tell};
use crate::verbs::index::stopped_by_signals;

/// Change the model of what is indexed, without indexing anew
///
/// The clips of each file, and of each camera whose footage is recorded, are looked at again by the
/// other model. What it makes of them is kept beside what there is, which is searched until --switch:
/// then, at once, the new clips are. Both stay, so --to the earlier model with --switch goes back.
/// What was brought over already is not looked at again: after Ctrl-C, a crash or more indexing, the
/// same command goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage model migrate --to clip-vit-b32 --sentences what-we-search.txt
  footage model migrate --to clip-vit-b32 --switch
  footage model migrate --to bundled --switch
  footage model migrate --list

Exit code: 0 all clips are there, 1 some footage is gone or cannot be looked at (lost, with the reason, in
the new coverage), 2 it failed, 130 interrupted.")]
pub(crate) struct Args {
    /// The other model: the name of a pulled one, a folder, a file of weights, or `bundled`
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["list", "remove"])]
    to: Option<String>,
    /// Search the clips of that model from now on
    #[arg(long, requires = "to")]
    switch: bool,
    /// Compare what both models find: a file with one sentence a line, or a CSV as `footage eval` takes it
    #[arg(long, value_name = "FILE", requires = "to")]
    sentences: Option<PathBuf>,
    /// Show the models whose clips are here
    #[arg(long, conflicts_with_all = ["to", "remove"])]
    list: bool,
    /// Remove the clips of a model that is not searched, by its fingerprint
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "to")]
    remove: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What others are told who would change something meanwhile.
const BUSY: &str = "`footage model migrate` is under way: until it ends, what is here can be searched and \
                    listed, and not be changed";

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    ensure!(
        !house.settings.cluster.has_kafka(),
        "a model is migrated on one machine only: a cluster's clips are not, so far"
    );
    if args.list {
        return list(args, house);
    }
    if let Some(fingerprint) = &args.remove {
        return remove(fingerprint, house).await;
    }
    let to = args.to.as_deref().context("say --to which model")?;
    let cancel = stopped_by_signals()?;
    let mut wanted = house.clone();
    wanted.settings.model_dir = (to != "bundled").then(|| PathBuf::from(to));
    let model = Arc::new(wanted.open_model()?);
    let from = Arc::new(house.open_existing_store().await?);
    let read = from.index.collection().model.clone();
    ensure!(
        read.fingerprint != *model.fingerprint(),
        "the clips of model `{}` are those that are searched already",
        model.name()
    );
    let collection = Collection { model: model_ref(&model), dim: model.dim() };
    let beside = Arc::new(Store::of(from.index.beside(&collection).await?).await?);
    // Sentences can be asked of what there is only with the model that made it.
    let earlier = Some(house.open_model()?).filter(|held| *held.fingerprint() == read.fingerprint);
    let desk = earlier.map(|model| desk(house, Arc::new(model), &from));
    let (stop, stopped) = watch::channel(false);
    let serving = desk.clone().map(|desk| {
        let dir = house.settings.data_dir.clone();
        tokio::spawn(async move { answer_reading(&dir, desk, BUSY, stopped).await })
    });
    let migration = Migration::new(house, from.clone(), beside.clone(), model.clone(), &cancel);
    let work = Work { args, migration, desk, other: desk_of(&wanted, &model, &beside) };
    let ended = work.run().await;
    let switched = match &ended {
        Ok(Ended { outcome: Outcome::Done | Outcome::SomeFailed, .. }) if args.switch => {
            beside.index.make_current().await.map(|()| true)
        }
        _ => Ok(false),
    };
    stop.send_replace(true);
    if let Some(serving) = serving {
        serving.await??;
    }
    let otherwise = work.migration.cut_otherwise()?;
    drop(work);
    close(from).await?;
    close(beside).await?;
    let (ended, switched) = (ended?, switched?);
    args.report(&ended, &read.name, &model, switched)?;
    if switched {
        advise(to, &otherwise, house);
    }
    Ok(ended.outcome)
}

fn desk(house: &House, model: Arc<Model>, store: &Arc<Store>) -> Desk {
    Desk { house: Arc::new(house.clone()), model, store: store.clone() }
}

fn desk_of(house: &House, model: &Arc<Model>, store: &Arc<Store>) -> Desk {
    desk(house, model.clone(), store)
}

async fn close(store: Arc<Store>) -> Result<()> {
    // Whoever still answers a search closes it with the last answer.
    if let Ok(store) = Arc::try_unwrap(store) {
        store.index.close().await?;
    }
    Ok(())
}

struct Work<'a> {
    args: &'a Args,
    migration: Migration<EmbeddedIndex>,
    /// What is searched, where its model is the one of the settings.
    desk: Option<Desk>,
    /// What is made.
    other: Desk,
}

/// What was done.
struct Ended {
    outcome: Outcome,
    sources: usize,
    clips: Brought,
    compared: Option<Compared>,
}

impl Work<'_> {
    async fn run(&self) -> Result<Ended> {
        let sentences = match (&self.args.sentences, &self.desk) {
            (Some(path), Some(desk)) => Some((Sentences::read(path, &desk.store).await?, desk)),
            (Some(_), None) => bail!(
                "the clips that are searched are not those of the model in the settings, so nothing can be \
                 compared with them: state that model with --model"
            ),
            (None, _) => None,
        };
        self.migration.follow_removals().await?;
        let sources = self.migration.sources()?;
        let mut ended = Ended {
            outcome: Outcome::Done,
            sources: sources.len(),
            clips: Brought::default(),
            compared: None,
        };
        for source in &sources {
            let bar = bar(&source.name);
            let on_clip = |due: usize| match due {
                0 => bar.inc(1),
                due => bar.set_length(due as u64),
            };
            let brought = self.migration.bring(source, on_clip).await;
            bar.finish_and_clear();
            let name = &source.name;
            let brought = brought.with_context(|| format!("`{name}` cannot be brought over"))?;
            let Some(brought) = brought else {
                ended.outcome = Outcome::Interrupted;
                return Ok(ended);
            };
            if !self.args.json {
                writeln!(stdout(), "{}", escaped(&format!("{name}: {}", told(&brought))))?;
            }
            if brought.lost > 0 {
                ended.outcome = Outcome::SomeFailed;
            }
            ended.clips.held += brought.held;
            ended.clips.made += brought.made;
            ended.clips.lost += brought.lost;
        }
        if ended.clips.made > 0 {
            tell("making the search graph");
            self.other.store.index.optimize().await?;
        }
        if let Some((sentences, desk)) = sentences {
            ended.compared = Some(compare(desk, &self.other, &sentences).await?);
        }
        Ok(ended)
    }
}

fn bar(name: &str) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}  {eta} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar.set_message(escaped(name));
    bar
}

fn told(brought: &Brought) -> String {
    let clips = |count: usize| counted(count as u64, "clip");
    let mut told = format!("{} embedded", clips(brought.made));
    if brought.held > 0 {
        told = format!("{told}, {} there already", brought.held);
    }
    if brought.lost > 0 {
        told = format!("{told}, {} lost", brought.lost);
        let why = brought.why.as_deref().unwrap_or("no picture of them is left");
        told = format!("{told}: {why}");
    }
    told
}

impl Args {
    fn report(&self, ended: &Ended, read: &str, model: &Model, switched: bool) -> Result<()> {
        let Ended { outcome, sources, clips, compared } = ended;
        let mut out = stdout().lock();
        if self.json {
            let described = json!({
                "from": read, "to": model.name(), "fingerprint": model.fingerprint(),
                "sources": sources,
                "clips": { "embedded": clips.made, "held": clips.held, "lost": clips.lost },
                "compared": compared.as_ref().map(in_json),
                "switched": switched,
                "interrupted": *outcome == Outcome::Interrupted,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
            return Ok(out.flush()?);
        }
        let name = escaped(model.name());
        writeln!(
            out,
            "{} of {}: {}",
            name,
            counted(*sources as u64, "source"),
            told(&Brought { why: Some("see above".to_owned()), ..*clips })
        )?;
        if let Some(compared) = compared {
            write!(out, "{}", compared_told(compared, read, model.name()))?;
        }
        match (outcome, switched) {
            (Outcome::Interrupted, _) => {
                writeln!(out, "interrupted: the same command goes on from here")?;
            }
            (_, true) => writeln!(out, "clips of {name} are searched from now on")?,
            (_, false) => writeln!(
                out,
                "clips of {} are searched still: the same command with --switch changes that",
                escaped(read)
            )?,
        }
        Ok(out.flush()?)
    }
}

fn in_json(compared: &Compared) -> Value {
    json!({
        "sentences": compared.sentences,
        "same_first": compared.same_first(),
        "shared": compared.shared(),
        "scores": compared.scores.map(|[read, other]| json!({ "read": read, "other": other })),
    })
}

fn compared_told(compared: &Compared, read: &str, other: &str) -> String {
    let mut told = format!(
        "asked {}: {} begin with the same moment, and {:.0} % of all moments are the same\n",
        counted(compared.sentences.len() as u64, "sentence"),
        compared.same_first(),
        compared.shared() * 100.0
    );
    for of in compared.sentences.iter().filter(|of| !of.agreement.same_first) {
        told.push_str(&format!("  begins with another moment: {}\n", escaped(&of.sentence)));
    }
    if let Some(scores) = &compared.scores {
        told.push_str("                              R@1    R@5   R@10  mean 1/rank\n");
        for (name, scores) in [read, other].iter().zip(scores) {
            let Scores { recall_at_1, recall_at_5, recall_at_10, mean_reciprocal_rank, .. } =
                scores;
            let shares = [recall_at_1, recall_at_5, recall_at_10].map(|share| share * 100.0);
            told.push_str(&format!(
                "{:<26} {:>5.1}% {:>5.1}% {:>5.1}%  {mean_reciprocal_rank:.3}\n",
                escaped(name),
                shares[0],
                shares[1],
                shares[2]
            ));
        }
    }
    told
}

/// What else has to be changed for the other model to be used from now on.
fn advise(to: &str, otherwise: &[(String, footage_clip::WindowSpec)], house: &House) {
    let stated = if to == "bundled" { "" } else { to };
    let held = house.settings.model_dir.as_ref().and_then(|held| held.to_str()).unwrap_or("");
    if held != stated {
        tell(&format!(
            "from now on state this model: `dir = \"{stated}\"` under [model] in the settings, or \
             --model; with any other one this data directory is refused"
        ));
    }
    if let Some((name, window)) = otherwise.first() {
        tell(&format!(
            "camera `{name}` goes on as it was cut only with `length_frames = {}`, `stride_frames = {}` \
             and `rate = \"{}\"` under [window]: state them before `footage watch`",
            window.length(),
            window.stride(),
            window.rate()
        ));
    }
}

fn list(args: &Args, house: &House) -> Result<Outcome> {
    let data = &house.settings.data_dir;
    let current = Manifest::current(data)?.map(|current| current.model.fingerprint);
    let all = Manifest::all(data)?;
    let mut out = stdout().lock();
    if args.json {
        let listed: Vec<_> = all
            .iter()
            .map(|held| {
                let is_searched = current.as_ref() == Some(&held.model.fingerprint);
                json!({ "model": held.model, "dim": held.dim, "is_searched": is_searched })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Outcome::Done);
    }
    if all.is_empty() {
        writeln!(out, "nothing is indexed in {}", escaped(&data.display().to_string()))?;
    }
    for Manifest { model, .. } in &all {
        let is_searched = current.as_ref() == Some(&model.fingerprint);
        let state = if is_searched { "searched" } else { "beside" };
        writeln!(out, "{}  {state:<8}  {}", model.fingerprint, escaped(&model.name))?;
    }
    Ok(Outcome::Done)
}

async fn remove(fingerprint: &str, house: &House) -> Result<Outcome> {
    let fingerprint = Fingerprint::try_from(fingerprint.to_owned()).map_err(|_| {
        anyhow::anyhow!(
            "`{fingerprint}` is no fingerprint: `footage model migrate --list` shows them"
        )
    })?;
    let store = house.open_existing_store().await?;
    let removed = store.index.remove_beside(&fingerprint).await;
    let left = store.index.count(&Filter::default()).await?;
    store.index.close().await?;
    removed.context("only the clips of a model that is not searched can be removed")?;
    writeln!(stdout(), "removed; {} are searched as before", counted(left, "clip"))?;
    Ok(Outcome::Done)
}
