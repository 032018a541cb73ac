//! `footage model pull`, `verify` and `remove`: published models on this machine.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use footage_hub::{FileProgress, Hub, HubError, Manifest, Patience, Published, Verified, find};
use footage_model::{Inspection, Model, System};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::compose::{House, described};
use crate::outcome::Outcome;
use crate::terminal::{escaped, masked};

#[derive(Debug, clap::Args)]
pub(super) struct Pull {
    /// Name of the model: `footage model list` shows them
    name: String,
    /// Folder that has the model's files already, instead of the hub
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Name of a pulled model, a model's folder, or a file of weights
    model: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Name of the model
    name: String,
}

fn published(name: &str) -> Result<&'static Published> {
    Ok(find(name).ok_or_else(|| HubError::NoSuchModel(name.to_owned()))?)
}

pub(super) fn pull(args: &Pull, house: &House) -> Result<Outcome> {
    let model = published(&args.name)?;
    let store = house.store_of_models();
    let bar = Bar::new();
    let mut progress = |told: FileProgress<'_>| bar.show(told);
    let manifest = if let Some(folder) = &args.from {
        store.pull_from(model, folder, &mut progress)
    } else {
        let hub = &house.settings.hub;
        if hub.offline {
            return Err(HubError::Offline(args.name.clone()).into());
        }
        let token = hub.token.as_ref().map(|token| token.reveal().to_owned());
        Hub::new(&hub.endpoint, token, Patience::default())
            .and_then(|hub| store.pull(model, &hub, &mut progress))
    };
    bar.end();
    let manifest = manifest.with_context(|| format!("cannot pull {}", model.name))?;
    let mut out = stdout().lock();
    for file in &manifest.files {
        let checked =
            if file.is_published { "as published" } else { "not published; kept to verify" };
        writeln!(
            out,
            "{:<32} {:>13} bytes  sha256 {} ({checked})",
            file.path, file.size, file.sha256
        )?;
    }
    let place = store.place(model.name);
    writeln!(out, "{} is in {}", model.name, masked(&place.display().to_string()))?;
    if model.is_whole {
        let fault =
            Model::inspect(&place).map_or_else(|error| Some(error.to_string()), |i| i.fault);
        if let Some(fault) = fault {
            bail!("it arrived whole, and cannot be used: {fault}");
        }
        writeln!(out, "use it: footage index --model {} --data-dir DIR PATH", model.name)?;
    } else {
        writeln!(out, "it is no model by itself: {}", model.about)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn remove(args: &Remove, house: &House) -> Result<Outcome> {
    let model = published(&args.name)?;
    ensure!(house.store_of_models().remove(model)?, "{} is not here", model.name);
    writeln!(stdout(), "removed {}", model.name)?;
    Ok(Outcome::Done)
}

/// Whether the files are what was pulled, and what they are as a model.
pub(super) fn verify(args: &Verify, house: &House) -> Result<Outcome> {
    let store = house.store_of_models();
    let stated = Path::new(&args.model);
    let named = find(&args.model).filter(|_| !stated.exists());
    let (place, manifest) = match named {
        Some(model) => {
            let manifest = store.manifest(model).with_context(|| {
                format!("{0} is not here: run `footage model pull {0}`", model.name)
            })?;
            (store.place(model.name), Some(manifest))
        }
        None => (stated.to_owned(), None),
    };
    let files = manifest.as_ref().map(|manifest| store.verify(manifest)).transpose()?;
    let files = files.unwrap_or_default();
    let is_same = files.iter().all(|(_, verified)| *verified == Verified::Same);
    // Parts of a model are looked at one by one.
    let places = match named {
        Some(model) if !model.is_whole => parts(&place, manifest.as_ref()),
        _ => vec![place],
    };
    let inspected: Vec<(PathBuf, Result<Inspection, String>)> = places
        .into_iter()
        .map(|place| {
            let inspected = Model::inspect(&place).map_err(|error| error.to_string());
            (place, inspected)
        })
        .collect();
    let is_usable =
        inspected.iter().all(|(_, inspected)| inspected.as_ref().is_ok_and(|i| i.fault.is_none()));
    let mut out = stdout().lock();
    if args.json {
        let files: Vec<_> = files
            .iter()
            .map(|(held, verified)| json!({ "file": held, "is_same": *verified == Verified::Same }))
            .collect();
        let models: Vec<_> = inspected
            .iter()
            .map(|(place, inspected)| match inspected {
                Ok(i) => json!({
                    "place": masked(&place.display().to_string()), "config": i.config,
                    "files": i.files, "coverage": i.coverage, "fault": i.fault,
                }),
                Err(fault) => json!({
                    "place": masked(&place.display().to_string()), "fault": masked(fault),
                }),
            })
            .collect();
        let described = json!({
            "is_same": is_same, "is_usable": is_usable, "files": files, "models": models,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
    } else {
        for (held, verified) in &files {
            let state = match verified {
                Verified::Same if held.is_published => "as published".to_owned(),
                Verified::Same => "as it was pulled".to_owned(),
                Verified::Missing => "MISSING".to_owned(),
                Verified::Changed { found } => format!("CHANGED: sha256 is {found}"),
            };
            writeln!(out, "{:<32} {state}", escaped(&held.path))?;
        }
        for (place, inspected) in &inspected {
            writeln!(out, "{}", escaped(&masked(&told(place, inspected))).replace("\\u{a}", "\n"))?;
        }
    }
    Ok(if is_same && is_usable { Outcome::Done } else { Outcome::SomeFailed })
}

fn parts(place: &Path, manifest: Option<&Manifest>) -> Vec<PathBuf> {
    let files = manifest.iter().flat_map(|manifest| &manifest.files);
    files.map(|file| place.join(&file.path)).collect()
}

fn told(place: &Path, inspected: &Result<Inspection, String>) -> String {
    let mut lines = Vec::new();
    match inspected {
        Ok(Inspection { config, files, coverage, fault }) => {
            lines.extend(files.iter().map(described));
            let vision = &config.architecture.vision;
            let branch = config.architecture.branch.as_ref();
            let branch = branch.map_or_else(
                || "no branch".to_owned(),
                |branch| match branch.system {
                    System::BtAdapter => format!("a branch of {} layers", branch.layers),
                    other => format!("{} of {} layers", other.name(), branch.layers),
                },
            );
            let family = config.architecture.family.name();
            lines.push(format!(
                "taken as: {family}, {0}x{0} pixels, patch {1}, {2} blocks of {3} channels, {branch}, \
                 embeddings of {4}",
                vision.image,
                vision.patch,
                vision.layers,
                vision.width,
                config.architecture.projection
            ));
            let share = coverage.found as f64 / coverage.needed.max(1) as f64 * 100.0;
            lines.push(format!(
                "coverage: {} of {} values the model needs ({share:.2} %)",
                coverage.found, coverage.needed
            ));
            match fault {
                Some(fault) => lines.push(format!("NOT USABLE: {fault}")),
                None => lines.push("usable".to_owned()),
            }
        }
        Err(fault) => lines.push(format!("{}: NOT USABLE: {fault}", place.display())),
    }
    lines.join("\n")
}

/// A bar on a terminal; elsewhere nothing.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{msg:<40} {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta:>4} {bar:20}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self(bar)
    }

    fn show(&self, told: FileProgress<'_>) {
        let Some(bar) = &self.0 else { return };
        let doing = if told.is_checking { " (checking)" } else { "" };
        bar.set_length(told.size);
        bar.set_position(told.done);
        bar.set_message(format!("{}{doing}", told.path));
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
