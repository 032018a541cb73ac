//! A course's run: goes on from the checkpoint, writes the next ones, plots, stops when asked.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use footage_model::train::pretrain::{Course, PretrainError, Pretraining, StepLosses};
use footage_model::train::{self, Optimiser};
use footage_pipeline::Cancel;
use serde_json::Value;

use super::features::Clips;
use super::{plot, read_json};
use crate::terminal::{escaped, tell};

const SETTINGS: &str = "settings.json";
pub(super) const CHECKPOINT: &str = "checkpoint.safetensors";
pub(super) const LOSSES: &str = "losses.csv";
pub(super) const PLOT: &str = "losses.svg";
/// The folder of kept features. It is there before the settings are.
pub(super) const FEATURES: &str = "features";

/// Everything that a run needs.
pub(super) struct Run<'a> {
    pub training: Pretraining,
    pub course: Course,
    pub clips: Clips,
    pub folder: PathBuf,
    pub save_every: usize,
    pub stop_after: Option<usize>,
    pub cancel: &'a Cancel,
}

/// What a run that reached its end leaves.
pub(super) struct Trained {
    pub training: Pretraining,
    pub clips: usize,
    pub steps: usize,
}

/// Refuses a folder with something else in it: nothing of it is overwritten.
pub(super) fn may_write(out: &Path, folder: &Path) -> Result<()> {
    let has_begun = || -> Result<bool> {
        let name = folder.file_name().unwrap_or_default();
        Ok(holds_at_most(out, name)? && holds_at_most(folder, FEATURES.as_ref())?)
    };
    ensure!(
        fs_err::exists(folder.join(SETTINGS))? || has_begun()?,
        "{} holds something that is no training: choose a new folder for --out",
        out.display()
    );
    Ok(())
}

/// Refuses a folder with anything in it: where nothing is learned, there is no training to go on with.
pub(super) fn must_be_new(out: &Path) -> Result<()> {
    ensure!(
        holds_at_most(out, OsStr::new(""))?,
        "{} holds something already: choose a new folder for --out",
        out.display()
    );
    Ok(())
}

/// Whether a folder holds nothing, but for what is called `name`. One that is not there holds nothing.
fn holds_at_most(folder: &Path, name: &OsStr) -> Result<bool> {
    if !fs_err::exists(folder)? {
        return Ok(true);
    }
    for entry in fs_err::read_dir(folder)? {
        if entry?.file_name() != name {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses to go on with a training that began with other settings.
pub(super) fn same_settings(folder: &Path, settings: &Value) -> Result<()> {
    let path = folder.join(SETTINGS);
    if !fs_err::exists(&path)? {
        return Ok(());
    }
    let before = read_json(&path)?;
    // Through text, as those were: a number may change its last bit on the way.
    let settings: Value = serde_json::from_str(&settings.to_string())?;
    if let (Some(before), Some(now)) = (before.as_object(), settings.as_object()) {
        // What only one of them states differs too: some are stated only where they are not usual.
        let keys: BTreeSet<&str> = before.keys().chain(now.keys()).map(String::as_str).collect();
        let differs = |key: &&str| before.get(*key) != now.get(*key);
        let other: Vec<&str> = keys.into_iter().filter(differs).collect();
        ensure!(
            other.is_empty(),
            "the training in {} began with other settings ({}): choose a new folder for --out, or \
             state the same",
            folder.display(),
            other.join(", ")
        );
    }
    Ok(())
}

/// Says what a training that begins follows from.
pub(super) fn write_settings(folder: &Path, settings: &Value) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    Ok(fs_err::write(folder.join(SETTINGS), serde_json::to_string_pretty(settings)? + "\n")?)
}

/// Replaces a file whole.
pub(super) fn put(folder: &Path, name: &str, text: &str) -> Result<()> {
    let partial = folder.join(format!("{name}.partial"));
    fs_err::write(&partial, text)?;
    Ok(fs_err::rename(&partial, folder.join(name))?)
}

impl Run<'_> {
    /// Trains to the end. None: it was stopped before.
    pub(super) fn go(mut self, settings: &Value) -> Result<Option<Trained>> {
        let mut optimiser = self.course.optimiser(&self.training);
        let (mut done, mut losses) = self.take_up(settings, &mut optimiser)?;
        let steps = self.course.schedule.steps;
        if done > 0 {
            tell(&format!("going on after step {done} of {steps}"));
        }
        let (begun, began_at) = (Instant::now(), done);
        while done < steps {
            if self.cancel.is_cancelled() || self.stop_after.is_some_and(|stop| done >= stop) {
                self.save(&optimiser, done, &losses)?;
                tell(&format!("stopped after step {done} of {steps}; the same command goes on"));
                return Ok(None);
            }
            let step = self.course.step(&self.training, &mut optimiser, &self.clips, done);
            losses.push(step.map_err(|error| self.explained(error))?);
            done += 1;
            if done.is_multiple_of(self.save_every) || done == steps {
                self.save(&optimiser, done, &losses)?;
                let clips = (done - began_at) * self.course.batch * self.course.accumulate;
                let pace = clips as f64 / begun.elapsed().as_secs_f64();
                if let Some(now) = losses.last() {
                    tell(&format!(
                        "step {done} of {steps}: loss {:.4} (VTC {:.4}, MBTA {:.4}, MBCA {:.4}), \
                         {pace:.1} clips/s",
                        now.total, now.vtc, now.mbta, now.mbca
                    ));
                }
            }
        }
        let clips = self.clips.0.len();
        Ok(Some(Trained { training: self.training, clips, steps }))
    }

    /// Begins, or takes up what an earlier run left: how many steps are done, and their losses.
    fn take_up(
        &mut self,
        settings: &Value,
        optimiser: &mut Optimiser,
    ) -> Result<(usize, Vec<StepLosses>)> {
        let at = |name: &str| self.folder.join(name);
        let checkpoint = at(CHECKPOINT);
        same_settings(&self.folder, settings)?;
        if !fs_err::exists(&checkpoint)? {
            write_settings(&self.folder, settings)?;
            return Ok((0, Vec::new()));
        }
        train::check(&checkpoint, &self.training.weights)?;
        let done = train::load(&checkpoint, &mut self.training.weights, optimiser)?;
        let losses = read_losses(&at(LOSSES), done)?;
        Ok((done, losses))
    }

    /// Losses and their plot first: with a checkpoint, the losses of all its steps are there.
    fn save(&self, optimiser: &Optimiser, done: usize, losses: &[StepLosses]) -> Result<()> {
        let mut csv = vec!["step,total,vtc,mbta,mbca,gradient".to_owned()];
        for (step, l) in losses.iter().enumerate() {
            let line = [l.total, l.vtc, l.mbta, l.mbca, l.gradient].map(|v| v.to_string());
            csv.push(format!("{step},{}", line.join(",")));
        }
        put(&self.folder, LOSSES, &(csv.join("\n") + "\n"))?;
        let of = |pick: fn(&StepLosses) -> f32| -> Vec<f32> { losses.iter().map(pick).collect() };
        let panels = [
            ("total", of(|l| l.total)),
            ("VTC: video and text", of(|l| l.vtc)),
            ("MBTA: branch tokens and CLIP's", of(|l| l.mbta)),
            ("MBCA: branch tokens and text", of(|l| l.mbca)),
        ];
        put(&self.folder, PLOT, &plot::svg(&panels))?;
        let path = self.folder.join(CHECKPOINT);
        train::save(&path, &self.training.weights, optimiser, done)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// An error with the clips by their names.
    fn explained(&self, error: PretrainError) -> anyhow::Error {
        let PretrainError::NotFinite { step, what, clips } = &error else { return error.into() };
        let named = clips
            .iter()
            .filter_map(|clip| self.clips.0.get(*clip))
            .map(|clip| escaped(&format!("{} (line {})", clip.row.video, clip.row.line)));
        anyhow::anyhow!(
            "step {step} gave no finite {what}, on {}; the last checkpoint is kept: a lower --rate, \
             in a new folder, may help",
            named.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The losses of the first `done` steps.
fn read_losses(path: &Path, done: usize) -> Result<Vec<StepLosses>> {
    let text = fs_err::read_to_string(path)?;
    let number = |text: &str| text.parse::<f32>().ok();
    let rows = text.lines().skip(1).take(done).map(|line| {
        let values: Option<Vec<f32>> = line.split(',').skip(1).map(number).collect();
        let [total, vtc, mbta, mbca, gradient] = values?.try_into().ok()?;
        Some(StepLosses { total, vtc, mbta, mbca, gradient })
    });
    let losses: Option<Vec<StepLosses>> = rows.collect();
    match losses.filter(|losses| losses.len() == done) {
        Some(losses) => Ok(losses),
        None => bail!("{} does not hold the losses of {done} steps: it is damaged", path.display()),
    }
}
