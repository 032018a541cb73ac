//! `footage model`: what models there are, whether one computes what it should, training one and
//! measuring it.

mod bench;
mod eval;
mod migrate;
mod pull;
mod qa;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use footage_model::config::Architecture;
use footage_model::{DeviceChoice, Ops, device_name};
use serde_json::{Value, json};

use crate::cli::Stated;
use crate::compose::House;
use crate::outcome::Outcome;
use crate::terminal::{escaped, masked};
use crate::verbs::train;

/// Look at models, check them, train them and measure them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the model in force, and the published models that can be pulled
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring a published model here, resumed where an earlier pull ended, and check it
    Pull(pull::Pull),
    /// Check a model: whether its files are what was published, what they are, and how much of a
    /// model they cover
    Verify(pull::Verify),
    /// Remove a pulled model
    Remove(pull::Remove),
    /// Measure how fast the model in force is here
    Bench(bench::Bench),
    /// Compare what a model computes with what another program computed, tensor by tensor
    ///
    /// Three safetensors files: the weights under the reference's names, inputs (`pixel_values`,
    /// `token_ids`), and the tensors expected. The model library's page on `check` lists the names.
    Check(Check),
    Train(Box<train::Args>),
    Eval(Box<eval::Args>),
    Migrate(migrate::Args),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Weights, under the reference's names
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Inputs
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Tensors that the reference computed from them
    #[arg(long, value_name = "FILE")]
    expected: PathBuf,
    /// JSON with the sizes: a model.json, or its `architecture` alone. Without it, they are read off
    /// the weights, with heads of 64 channels as in every published CLIP
    #[arg(long, value_name = "FILE")]
    architecture: Option<PathBuf>,
    /// Largest difference at which the check passes
    #[arg(long, value_name = "X", default_value_t = 2e-5)]
    tolerance: f32,
    /// Least cosine between an embedding in bf16 and the expected one at which the check passes
    #[arg(long, value_name = "X", default_value_t = 0.9999)]
    least_cosine: f32,
    /// Where to compute: auto, cpu, cuda or cuda:1; the setting model.device unless given
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Stated> {
        match &self.verb {
            Verb::Eval(args) => args.flags(),
            Verb::Train(args) => args.flags(),
            _ => Vec::new(),
        }
    }
}

pub(crate) fn run(args: Args, house: &House) -> Result<Outcome> {
    match args.verb {
        Verb::List { json } => list(house, json),
        Verb::Check(args) => check(&args, house),
        Verb::Pull(args) => pull::pull(&args, house),
        Verb::Verify(args) => pull::verify(&args, house),
        Verb::Remove(args) => pull::remove(&args, house),
        Verb::Bench(args) => bench::bench(&args, house),
        Verb::Train(args) => train::run(&args, house),
        Verb::Eval(args) => eval::run(&args, house),
        Verb::Migrate(args) => migrate::run(&args, house),
    }
}

fn list(house: &House, as_json: bool) -> Result<Outcome> {
    let model = house.open_model()?;
    let window = model.window();
    let dir = &house.settings.model_dir;
    let place =
        dir.as_ref().map_or_else(|| "bundled".to_owned(), |dir| masked(&dir.display().to_string()));
    let mut out = stdout().lock();
    if as_json {
        let described = json!({
            "name": model.name(),
            "fingerprint": model.fingerprint(),
            "place": place,
            "dim": model.dim(),
            "image_size": model.image_size(),
            "window": window,
            "calibration": model.calibration(),
            "published": published_json(house),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
        return Ok(Outcome::Done);
    }
    let mut line = |about: &str, text: String| writeln!(out, "{about:<12} {}", escaped(&text));
    line("name", model.name().to_owned())?;
    line("place", place)?;
    line("fingerprint", model.fingerprint().to_string())?;
    line("embedding", format!("{} values", model.dim()))?;
    line("pictures", format!("{0}x{0}", model.image_size()))?;
    line(
        "window",
        format!(
            "clips of {} frames, a new one every {}, sampled at {}/s",
            window.length(),
            window.stride(),
            window.rate()
        ),
    )?;
    let calibration = match model.calibration() {
        Some(_) => "yes: searches tell a match from no match",
        None => "none: searches show the nearest and cannot tell whether they match",
    };
    line("calibrated", calibration.to_owned())?;
    writeln!(out)?;
    writeln!(out, "published, to be brought here with `footage model pull NAME`:")?;
    let store = house.store_of_models();
    for model in footage_hub::published() {
        let state = if store.manifest(model).is_some() { "here" } else { "-" };
        let quality = model.msrvtt_r1.map_or_else(|| "-".to_owned(), |r1| format!("{r1:.1}"));
        writeln!(
            out,
            "{:<21} {state:<4}  {:>5.0} M values  f32 {:>4.1} GiB  {:>3} px  {:>4} dim  MSR-VTT R@1 \
             {quality:>4}  {}; {}",
            model.name,
            model.parameters_m,
            gib(model.parameters_m),
            model.image,
            model.dim,
            model.about,
            model.licence
        )?;
    }
    writeln!(
        out,
        "R@1: as the paper of BT-Adapter reports it, not measured here. How fast a model is here: \
         `footage model bench --model NAME`"
    )?;
    Ok(Outcome::Done)
}

/// What the weights take in memory in `f32`.
fn gib(parameters_m: f32) -> f32 {
    parameters_m * 4e6 / (1u64 << 30) as f32
}

fn published_json(house: &House) -> Vec<Value> {
    let store = house.store_of_models();
    let described = |model: &footage_hub::Published| {
        let place = store.manifest(model).map(|_| store.place(model.name));
        json!({ "model": model, "place": place })
    };
    footage_hub::published().iter().map(described).collect()
}

fn check(args: &Check, house: &House) -> Result<Outcome> {
    let architecture = args.architecture.as_deref().map(architecture).transpose()?;
    // The kernels that indexing and searching use.
    let ops = Ops::Fused;
    let device = args.device.unwrap_or(house.settings.device).open()?;
    let report = footage_model::check(
        &args.weights,
        &args.input,
        &args.expected,
        architecture.as_ref(),
        ops,
        &device,
    )?;
    let largest = report.largest().map(|difference| difference.max_abs_diff);
    let largest = largest.context("none of the expected tensors could be compared")?;
    ensure!(!args.tolerance.is_nan(), "--tolerance is no number");
    ensure!(!args.least_cosine.is_nan(), "--least-cosine is no number");
    let least_cosine = report.most_rounded().map(|rounded| rounded.cosine);
    let passes = largest <= args.tolerance
        && least_cosine.is_none_or(|least_cosine| least_cosine >= args.least_cosine);
    let mut out = stdout().lock();
    if args.json {
        let differences: Vec<_> = report
            .differences
            .iter()
            .map(|d| json!({ "tensor": d.name, "shape": d.shape, "max_abs_diff": d.max_abs_diff }))
            .collect();
        let rounded: Vec<_> = report
            .rounded
            .iter()
            .map(|rounded| json!({ "tensor": rounded.name, "cosine": rounded.cosine }))
            .collect();
        let described = json!({
            "passes": passes,
            "tolerance": args.tolerance,
            "largest": largest,
            "device": device_name(&device),
            "bf16": rounded,
            "least_cosine": least_cosine,
            "differences": differences,
            "not_compared": report.not_compared,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
    } else {
        for difference in &report.differences {
            let mark = if difference.max_abs_diff <= args.tolerance { "ok  " } else { "BAD " };
            let (name, shape) = (escaped(&difference.name), &difference.shape);
            writeln!(out, "{mark}  {:<9.2e} {name} {shape:?}", difference.max_abs_diff)?;
        }
        for rounded in &report.rounded {
            let mark = if rounded.cosine >= args.least_cosine { "ok  " } else { "BAD " };
            writeln!(
                out,
                "{mark}  {:.6}  {} (bf16, cosine)",
                rounded.cosine,
                escaped(&rounded.name)
            )?;
        }
        for name in &report.not_compared {
            writeln!(out, "skip            {} (no input for it, or not computed)", escaped(name))?;
        }
        let verdict = if largest <= args.tolerance { "within" } else { "NOT within" };
        writeln!(
            out,
            "{} tensors compared on {}, largest difference {largest:.2e}: {verdict} {:.2e}",
            report.differences.len(),
            device_name(&device),
            args.tolerance
        )?;
        if let Some(cosine) = least_cosine {
            let verdict = if cosine >= args.least_cosine { "within" } else { "NOT within" };
            let least = args.least_cosine;
            writeln!(out, "least cosine in bf16 {cosine:.6}: {verdict} {least}")?;
        }
    }
    Ok(if passes { Outcome::Done } else { Outcome::SomeFailed })
}

fn architecture(path: &Path) -> Result<Architecture> {
    let bytes = fs_err::read(path)?;
    let read = || -> serde_json::Result<Architecture> {
        let mut json: Value = serde_json::from_slice(&bytes)?;
        let inner = json.get_mut("architecture").map(Value::take);
        serde_json::from_value(inner.unwrap_or(json))
    };
    read().with_context(|| format!("cannot use {}", path.display()))
}
