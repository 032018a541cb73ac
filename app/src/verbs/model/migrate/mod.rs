//! `footage model migrate`: another model for what is indexed.

mod told;

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::{Fingerprint, ModelRef};
use footage_index::{Beside as _, Collection, Index, Manifest, Shelved};
use footage_model::Model;
use footage_pipeline::Cancel;
use serde_json::json;
use tokio::sync::watch;

use self::told::{Ended, advise, bar, told};
use crate::cluster;
use crate::compose::{House, Store, model_ref};
use crate::instance::server::answer_reading;
use crate::migration::{Books, Brought, Migration, Sentences, compare};
use crate::outcome::Outcome;
use crate::requests::Desk;
use crate::terminal::{escaped, tell};
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
    #[command(flatten)]
    switching: Switching,
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

/// What is searched afterwards.
#[derive(Debug, clap::Args)]
struct Switching {
    /// Search the clips of that model from now on
    #[arg(long, requires = "to")]
    switch: bool,
    /// Switch although clips are lost, whose footage is gone or cannot be looked at
    #[arg(long, requires = "switch")]
    accept_lost: bool,
}

/// What others are told who would change something meanwhile.
const BUSY: &str = "`footage model migrate` is under way: until it ends, what is here can be searched and \
                    listed, and not be changed";

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let is_cluster = house.settings.cluster.has_kafka();
    if args.list {
        return if is_cluster {
            list(args, &cluster::collections(house).await?)
        } else {
            list(args, &held(house)?)
        };
    }
    if let Some(fingerprint) = &args.remove {
        return remove(fingerprint, house, is_cluster).await;
    }
    let to = args.to.as_deref().context("say --to which model")?;
    let cancel = stopped_by_signals()?;
    let mut wanted = house.clone();
    wanted.settings.model_dir = (to != "bundled").then(|| PathBuf::from(to));
    let model = Arc::new(wanted.open_model()?);
    if is_cluster {
        return in_cluster(args, house, &wanted, model, &cancel).await;
    }
    // Before the index is held: whoever searches waits from then on until this answers.
    let earlier = house.open_model().ok();
    let from = Arc::new(house.open_existing_store().await?);
    let read = from.index.collection().model.clone();
    refuse_same(&read, &model)?;
    // Sentences can be asked of what there is only with the model that made it.
    let earlier = earlier.filter(|held| *held.fingerprint() == read.fingerprint);
    let desk = earlier.map(|model| desk_of(house, &Arc::new(model), &from));
    let (stop, stopped) = watch::channel(false);
    let serving = desk.clone().map(|desk| {
        let dir = house.settings.data_dir.clone();
        tokio::spawn(async move { answer_reading(&dir, desk, BUSY, stopped).await })
    });
    let collection = Collection { model: model_ref(&model), dim: model.dim() };
    let beside = Arc::new(Store::of(from.index.beside(&collection).await?).await?);
    let migration =
        Migration::new(house, from.clone(), beside.clone(), Books::Own, model.clone(), &cancel);
    let work = Work { args, migration, desk, other: desk_of(&wanted, &model, &beside) };
    let ended = work.run().await;
    let switched = match &ended {
        Ok(ended) if ended.may_switch(args) => beside.index.make_current().await.map(|()| true),
        _ => Ok(false),
    };
    stop.send_replace(true);
    if let Some(serving) = serving {
        serving.await??;
    }
    let otherwise = work.migration.cut_otherwise();
    drop(work);
    close(from).await?;
    close(beside).await?;
    let (ended, switched) = (ended?, switched?);
    args.report(&ended, &read.name, &model, switched)?;
    if switched {
        advise(to, &otherwise?, house);
    }
    Ok(ended.outcome)
}

/// The same, with clips on a server, and sources and coverage in topics.
async fn in_cluster(
    args: &Args,
    house: &House,
    wanted: &House,
    model: Arc<Model>,
    cancel: &Cancel,
) -> Result<Outcome> {
    let site = cluster::Site::open(house, wanted, &model).await?;
    let read = model_ref(&site.model);
    refuse_same(&read, &model)?;
    let migration = Migration::new(
        house,
        site.from.clone(),
        site.to.clone(),
        Books::Shared,
        model.clone(),
        cancel,
    );
    let read_desk = desk_of(house, &site.model, &site.from);
    let work =
        Work { args, migration, desk: Some(read_desk), other: desk_of(wanted, &model, &site.to) };
    let ended = work.run().await?;
    let switched = ended.may_switch(args);
    if switched {
        site.switch(&ended.lossy).await?;
    }
    args.report(&ended, &read.name, &model, switched)?;
    if switched {
        advise(args.to.as_deref().unwrap_or_default(), &work.migration.cut_otherwise()?, house);
    }
    Ok(ended.outcome)
}

fn refuse_same(read: &ModelRef, model: &Model) -> Result<()> {
    ensure!(
        read.fingerprint != *model.fingerprint(),
        "the clips of model `{}` are those that are searched already",
        model.name()
    );
    Ok(())
}

fn desk_of<I>(house: &House, model: &Arc<Model>, store: &Arc<Store<I>>) -> Desk<I> {
    Desk { house: Arc::new(house.clone()), model: model.clone(), store: store.clone() }
}

async fn close(store: Arc<Store>) -> Result<()> {
    // Whoever still answers a search closes it with the last answer.
    if let Ok(store) = Arc::try_unwrap(store) {
        store.index.close().await?;
    }
    Ok(())
}

struct Work<'a, I> {
    args: &'a Args,
    migration: Migration<I>,
    /// What is searched, where its model is the one of the settings.
    desk: Option<Desk<I>>,
    /// What is made.
    other: Desk<I>,
}

impl<I: Index + 'static> Work<'_, I> {
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
            lossy: Vec::new(),
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
                // Nobody reads it, perhaps: that ends no migration.
                drop(writeln!(stdout(), "{}", escaped(&format!("{name}: {}", told(&brought)))));
            }
            ended.clips.held += brought.held;
            ended.clips.made += brought.made;
            ended.clips.lost += brought.lost;
            if brought.lost > 0 {
                ended.outcome = Outcome::SomeFailed;
                ended.lossy.push((source.clone(), brought));
            }
        }
        // Also where nothing was made now: the run that made it may have ended before this.
        if !sources.is_empty() {
            tell("making the search graph");
            self.other.store.index.optimize().await?;
        }
        if let Some((sentences, desk)) = sentences {
            ended.compared = Some(compare(desk, &self.other, &sentences).await?);
        }
        Ok(ended)
    }
}

/// The collections of a data directory.
fn held(house: &House) -> Result<Vec<Shelved>> {
    let data = &house.settings.data_dir;
    let current = Manifest::current(data)?.map(|current| current.model.fingerprint);
    let all = Manifest::all(data)?.into_iter();
    let shelved = all.map(|Manifest { model, dim, .. }| Shelved {
        is_current: current.as_ref() == Some(&model.fingerprint),
        fingerprint: model.fingerprint,
        name: Some(model.name),
        dim,
    });
    Ok(shelved.collect())
}

fn list(args: &Args, all: &[Shelved]) -> Result<Outcome> {
    let mut out = stdout().lock();
    if args.json {
        let listed: Vec<_> = all
            .iter()
            .map(|Shelved { fingerprint, name, dim, is_current }| {
                json!({
                    "fingerprint": fingerprint, "name": name, "dim": dim, "is_searched": is_current,
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Outcome::Done);
    }
    if all.is_empty() {
        writeln!(out, "nothing is indexed")?;
    }
    for Shelved { fingerprint, name, is_current, .. } in all {
        let state = if *is_current { "searched" } else { "beside" };
        let name = name.as_deref().map(escaped).unwrap_or_default();
        writeln!(out, "{}", format!("{fingerprint}  {state:<8}  {name}").trim_end())?;
    }
    Ok(Outcome::Done)
}

async fn remove(fingerprint: &str, house: &House, is_cluster: bool) -> Result<Outcome> {
    let fingerprint = Fingerprint::try_from(fingerprint.to_owned()).map_err(|_| {
        anyhow::anyhow!(
            "`{fingerprint}` is no fingerprint: `footage model migrate --list` shows them"
        )
    })?;
    let removed = if is_cluster {
        cluster::remove_collection(house, &fingerprint).await
    } else {
        let store = house.open_existing_store().await?;
        let removed = store.index.remove_beside(&fingerprint).await;
        store.index.close().await?;
        removed.map_err(Into::into)
    };
    removed.context("only the clips of a model that is not searched can be removed")?;
    writeln!(stdout(), "removed the clips of {fingerprint}")?;
    Ok(Outcome::Done)
}
