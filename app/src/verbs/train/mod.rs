//! `footage model train`: pre-trains a model's branch on somebody's own footage, or tunes an answerer.

mod features;
mod plot;
mod run;
mod tune;
mod tuned;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use footage_model::train::Schedule;
use footage_model::train::pretrain::{Course, ModelFiles, Pretraining, Recipe, Start};
use footage_model::{CONFIG_FILE, ModelConfig, System, TOKENIZER_FILE, WEIGHTS_FILE};
use serde_json::{Value, json};

use self::features::{Clips, Gathering};
use self::run::Run;
use super::index::stopped_by_signals;
use crate::bundled;
use crate::cli::Stated;
use crate::compose::House;
use crate::datasets::Source;
use crate::outcome::Outcome;
use crate::stretches::Stretches;
use crate::terminal::tell;

/// Train a model's branch on videos with captions
///
/// CLIP stays as it is; the branch beside it, which sees time, learns as in the BT-Adapter paper's
/// section 3.3. What CLIP makes of the videos is computed once and kept. After Ctrl-C, or a crash,
/// the same command goes on where the last checkpoint was written, and ends with the same model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage model train --data captions.csv --out models/mine
  footage --model models/mine index ~/Videos
  footage model train --instructions questions.csv --rate 2e-4 --out answerers/mine
  footage ask --answerer answerers/mine gate.mp4@0:10-0:20 \"who is it?\"

A captions' CSV begins with `path,caption` or `path,caption,from,to`; times are seconds. OUT becomes a model's folder; OUT/training holds the checkpoint, the
losses (CSV, and SVG to look at) and the kept features.

Exit code: 0 trained on all, 1 trained but something had to be left out (each has a line that says
why), 2 it failed, 130 interrupted.")]
pub(crate) struct Args {
    #[command(flatten)]
    data: Source,
    /// Tune an answerer on these questions and answers instead: Video-ChatGPT's or LLaVA's JSON, or CSV
    /// `path,question,answer[,from,to]`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "format", "list", "labels"])]
    instructions: Option<PathBuf>,
    /// The answerer that is tuned: `mini` or a folder [setting: ask.answerer]
    #[arg(long, value_name = "mini|DIR", requires = "instructions")]
    answerer: Option<String>,
    /// Folder for the trained model; a training that is in it is gone on with
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the trained model
    #[arg(long, value_name = "NAME", default_value = "trained")]
    name: String,
    /// What the paper says, or what its authors' code does
    #[arg(long, value_parser = ["paper", "released"], default_value = "paper")]
    recipe: String,
    /// Share of the patches that the branch does not see while it learns; the recipe's 0.7 where it is
    /// not stated
    #[arg(long, value_name = "X")]
    mask: Option<f64>,
    /// Weights of the three losses, VTC,MBTA,MBCA, instead of the recipe's
    #[arg(long, value_name = "X,X,X", value_delimiter = ',')]
    weights: Option<Vec<f64>>,
    /// Begin with a new branch of this many layers, though the model may have one
    #[arg(long, value_name = "K")]
    new_branch: Option<usize>,
    /// What the model is to do about time: BT-Adapter, or what its paper sets against it; the model's own
    /// system, or bt-adapter, where it is not stated
    #[arg(long, value_name = "SYSTEM", value_parser = System::ALL.map(System::name))]
    system: Option<String>,
    /// Times that each clip is learned from [default: 10; 3 with --instructions]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Steps in all, instead of --epochs
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Clips that are told from each other, or learned from in one step [default: 32; 8 with
    /// --instructions]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches for one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// Highest learning rate: of temporal layers and gates; the rest of the branch has a tenth
    /// [default: 2e-4; with --instructions 2e-5, for all]
    #[arg(long, value_name = "X")]
    rate: Option<f32>,
    /// Steps until it is reached; a twentieth of all where it is not stated
    #[arg(long, value_name = "N")]
    warmup: Option<usize>,
    /// What everything random follows from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 100)]
    save_every: usize,
    /// Stop once this many steps are done, as Ctrl-C does; the same command without it goes on
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
}

/// A model's files, read.
struct Files {
    config: Vec<u8>,
    weights: Vec<u8>,
    tokenizer: Option<Vec<u8>>,
}

impl Files {
    fn read(house: &House) -> Result<Self> {
        let Some(dir) = &house.settings.model_dir else {
            let (config, weights, tokenizer) = bundled::files();
            return Ok(Self {
                config: config.to_vec(),
                weights: weights.to_vec(),
                tokenizer: Some(tokenizer.to_vec()),
            });
        };
        let tokenizer = dir.join(TOKENIZER_FILE);
        Ok(Self {
            config: fs_err::read(dir.join(CONFIG_FILE))?,
            weights: fs_err::read(dir.join(WEIGHTS_FILE))?,
            tokenizer: if fs_err::exists(&tokenizer)? {
                Some(fs_err::read(&tokenizer)?)
            } else {
                None
            },
        })
    }
}

/// The published pre-training's, where no others are stated.
const EPOCHS: usize = 10;
const BATCH: usize = 32;
const RATE: f32 = 2e-4;

pub(crate) fn run(args: &Args, house: &House) -> Result<Outcome> {
    if let Some(instructions) = &args.instructions {
        return tune::run(args, instructions, house);
    }
    let recipe = args.checked()?;
    let folder = args.out.join("training");
    run::may_write(&args.out, &folder)?;
    let files = Files::read(house)?;
    let files = ModelFiles {
        config: &files.config,
        weights: &files.weights,
        tokenizer: files.tokenizer.as_deref(),
    };
    let own = ModelConfig::from_json(files.config)?.architecture;
    let (system, start) = args.start(own.branch.map(|branch| branch.system))?;
    let recipe = args.fitting(recipe, system)?;
    if !system.learns() {
        run::must_be_new(&args.out)?;
        let untrained = Pretraining::new(&files, start, recipe, args.seed)?;
        untrained.export(&args.name, "CLIP as it is: nothing in it learns time.", &args.out)?;
        tell(&format!("{} has nothing to learn: {}", system.name(), args.out.display()));
        return Ok(Outcome::Done);
    }
    let (dataset, videos) = args.data.read()?;
    let cancel = stopped_by_signals()?;

    let model = house.open_model()?;
    let (window, decode) = (house.settings.window.of(&model)?, house.settings.decode.of(&model));
    let fingerprint = model.fingerprint().to_string();
    drop(model);
    let training = Pretraining::new(&files, start, recipe, args.seed)?;
    let most = training.config().architecture.branch.map_or(0, |branch| branch.max_frames);
    ensure!(window.length() <= most, "the branch takes clips of at most {most} frames");

    let cache = folder.join(run::FEATURES);
    let reading = Stretches { window, decode, cancel: &cancel };
    let gathering = Gathering { training: &training, reading, cache };
    let (clips, left_out) = gathering.gather(dataset.rows, &videos)?;
    if cancel.is_cancelled() {
        return Ok(Outcome::Interrupted);
    }
    ensure!(
        clips.0.len() >= 2,
        "{} of the captions can be learned from: two are the least",
        clips.0.len()
    );
    let course = args.course(clips.0.len(), window.length());
    let settings = settings_of(&course, &training, &fingerprint, &clips, args);
    let run = Run {
        training,
        course,
        clips,
        folder,
        save_every: args.save_every,
        stop_after: args.stop_after,
        cancel: &cancel,
    };
    let Some(trained) = run.go(&settings)? else { return Ok(Outcome::Interrupted) };
    let description = format!(
        "Branch trained by footage model train on {} clips, {} steps.",
        trained.clips, trained.steps
    );
    trained.training.export(&args.name, &description, &args.out)?;
    tell(&format!("trained: {}", args.out.display()));
    if left_out == 0 {
        return Ok(Outcome::Done);
    }
    tell(&format!("{left_out} captions were left out; each has a line above"));
    Ok(Outcome::SomeFailed)
}

impl Args {
    fn checked(&self) -> Result<Recipe> {
        let mut recipe =
            if self.recipe == "released" { Recipe::released() } else { Recipe::paper() };
        if let Some(mask) = self.mask {
            ensure!((0.0..1.0).contains(&mask), "--mask is {mask}: choose 0 to 0.99");
            recipe.masked = mask;
        }
        if let Some(weights) = &self.weights {
            let [vtc, mbta, mbca] = weights[..] else { bail!("--weights wants three numbers") };
            let sane = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
            ensure!(sane && vtc + mbta + mbca > 0.0, "--weights are 0 or more, not all 0");
            recipe.weights = footage_model::train::pretrain::LossWeights { vtc, mbta, mbca };
        }
        let batch = self.batch.unwrap_or(BATCH);
        ensure!(batch >= 2, "--batch is {batch}: two clips are the least");
        ensure!((1..=10_000).contains(&self.accumulate), "--accumulate is 1 to 10000");
        self.check_course()?;
        Ok(recipe)
    }

    /// The system that is trained, and what it begins with; the model has `own`.
    fn start(&self, own: Option<System>) -> Result<(System, Start)> {
        let stated = self.system.as_deref().map(System::of_name).transpose()?;
        let system = stated.or(own).unwrap_or_default();
        if stated.is_none_or(|stated| Some(stated) == own) && self.new_branch.is_none() {
            return Ok((system, Start::Own));
        }
        ensure!(
            system.learns() || self.new_branch.is_none(),
            "{} has no layers: leave out --new-branch",
            system.name()
        );
        Ok((system, Start::New(system, self.new_branch)))
    }

    /// The recipe as far as it has a meaning for the system; what was asked for beyond it is refused.
    fn fitting(&self, recipe: Recipe, system: System) -> Result<Recipe> {
        let fitting = recipe.for_system(system);
        ensure!(
            self.mask.is_none() || system.has_branch(),
            "--mask is for systems with a branch: leave it out for {}",
            system.name()
        );
        ensure!(
            self.weights.is_none() || fitting.weights == recipe.weights,
            "{} has no branch for MBTA and MBCA: their --weights are 0",
            system.name()
        );
        ensure!(fitting.weights.vtc > 0.0 || system.has_branch(), "without VTC nothing is learned");
        Ok(fitting)
    }

    /// What holds for any training.
    fn check_course(&self) -> Result<()> {
        ensure!(self.save_every >= 1, "--save-every is at least 1");
        ensure!(self.steps.or(self.epochs) != Some(0), "there is no step to take");
        let rate = self.rate.unwrap_or(RATE);
        ensure!(rate.is_finite() && rate > 0.0, "--rate is {rate}");
        Ok(())
    }

    /// What is of no meaning to an answerer is not stated for one.
    fn check_tuning(&self) -> Result<()> {
        ensure!(self.batch != Some(0), "--batch is 0: one clip is the least");
        let is_pretraining = self.weights.is_some()
            || self.new_branch.is_some()
            || self.system.is_some()
            || self.mask.is_some()
            || self.accumulate != 1
            || self.recipe != "paper";
        ensure!(
            !is_pretraining,
            "--recipe, --system, --weights, --mask, --new-branch and --accumulate are for pre-training, \
             not for --instructions"
        );
        self.check_course()
    }

    pub(crate) fn flags(&self) -> Vec<Stated> {
        let answerer = self.answerer.clone().map(|to| ("ask.answerer", to, "--answerer"));
        answerer.into_iter().collect()
    }

    fn course(&self, clips: usize, frames: usize) -> Course {
        let batch = self.batch.unwrap_or(BATCH).min(clips);
        let epochs = self.epochs.unwrap_or(EPOCHS);
        let per_epoch = (clips / batch).max(1);
        let steps = self.steps.unwrap_or_else(|| (epochs * per_epoch).div_ceil(self.accumulate));
        let warmup = self.warmup.unwrap_or(steps / 20).min(steps);
        let schedule = Schedule { peak: self.rate.unwrap_or(RATE), warmup, steps };
        Course { seed: self.seed, frames, batch, accumulate: self.accumulate, schedule }
    }
}

/// All that a training's course follows from. Of another, none of it is gone on with.
fn settings_of(
    course: &Course,
    training: &Pretraining,
    fingerprint: &str,
    clips: &Clips,
    args: &Args,
) -> Value {
    let mut hasher = blake3::Hasher::new();
    for clip in &clips.0 {
        hasher.update(clip.key().as_bytes());
        hasher.update(format!("\n{}\n", clip.row.caption).as_bytes());
    }
    let mut settings = json!({
        "model": fingerprint,
        "new_branch": args.new_branch,
        "recipe": training.recipe(),
        "seed": course.seed,
        "frames": course.frames,
        "batch": course.batch,
        "accumulate": course.accumulate,
        "rate": course.schedule.peak,
        "warmup": course.schedule.warmup,
        "steps": course.schedule.steps,
        "clips": clips.0.len(),
        "data": hasher.finalize().to_hex().as_str(),
    });
    let system = training.config().architecture.system();
    if system != System::default() {
        settings["system"] = system.name().into();
    }
    settings
}

/// JSON in a file.
fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_slice(&fs_err::read(path)?)
        .with_context(|| format!("{} is damaged", path.display()))
}
