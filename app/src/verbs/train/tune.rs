//! `footage model train --instructions`: tunes an answerer on conversations about somebody's own videos.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::WindowSpec;
use footage_model::train::instruct::{Lesson, Look, Pooling, Tuning, drawn};
use footage_model::train::{self, AdamW, Optimiser, Schedule, Weights};
use footage_pipeline::{Cancel, FileSource, PictureSize, identify};
use half::f16;
use serde_json::{Value, json};

use super::run::{self, CHECKPOINT, LOSSES, PLOT};
use super::{Args, plot, tuned};
use crate::compose::House;
use crate::datasets::{Instruction, Videos, instructions};
use crate::outcome::Outcome;
use crate::settings::AnswererChoice;
use crate::stretches::{Stretches, Wanted};
use crate::terminal::{escaped, tell};
use crate::verbs::index::stopped_by_signals;

/// Conversations about one stretch that are learned from together.
const TOGETHER: usize = 8;

/// The published tuning's, where no others are stated (BT-ADAPTER.md section 7).
const EPOCHS: usize = 3;
const BATCH: usize = 8;
const RATE: f32 = 2e-5;

/// What is learned from in one go: a stretch, by its features, and conversations about it.
#[derive(Debug)]
struct Item {
    line: u64,
    video: String,
    features: PathBuf,
    lessons: Vec<Lesson>,
}

/// How a course runs. All that is random in a step follows from `seed` and the step's number.
struct Course<'a> {
    tuning: Tuning,
    items: Vec<Item>,
    seed: u64,
    batch: usize,
    schedule: Schedule,
    folder: PathBuf,
    save_every: usize,
    stop_after: Option<usize>,
    cancel: &'a Cancel,
}

pub(super) fn run(args: &Args, file: &Path, house: &House) -> Result<Outcome> {
    args.check_tuning()?;
    let folder = args.out.join("training");
    run::may_write(&args.out, &folder)?;
    let (all, names) =
        instructions::read(file).with_context(|| format!("cannot use {}", file.display()))?;
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let videos = args.data.videos.as_deref().or(beside).unwrap_or(Path::new("."));
    let videos = Videos::open(videos, names)?;
    let answerer = &house.settings.ask.answerer;
    let tuning = match answerer {
        AnswererChoice::Bundled => Tuning::from_bytes(crate::bundled::answerer_files())?,
        AnswererChoice::Folder(dir) => Tuning::open(dir)
            .with_context(|| format!("cannot tune the answerer in {}", dir.display()))?,
        AnswererChoice::None | AnswererChoice::Endpoint(_) => bail!(
            "there is no answerer to tune here: set `ask.answerer` (or --answerer) to `mini` or to a \
             LLaVA's folder"
        ),
    };
    let cancel = stopped_by_signals()?;
    let rate = house.settings.window.of(&house.open_model()?)?.rate();
    let frames = tuning.most_frames();
    let side = NonZeroU32::new(tuning.image_size()).unwrap_or(NonZeroU32::MIN);
    let size = PictureSize::Covering { short_side: side, long_side: NonZeroU32::MIN };
    let reading = Stretches {
        window: WindowSpec::try_new(frames, frames, rate)?,
        decode: house.settings.decode.sized(size),
        cancel: &cancel,
    };
    let gathering = Gathering { tuning: &tuning, reading, cache: folder.join(run::FEATURES) };
    let (items, left_out) = gathering.gather(all, &videos)?;
    if cancel.is_cancelled() {
        return Ok(Outcome::Interrupted);
    }
    ensure!(!items.is_empty(), "none of the instructions can be learned from");
    let batch = args.batch.unwrap_or(BATCH).min(items.len());
    let per_epoch = items.len().div_ceil(batch);
    let steps = args.steps.unwrap_or(args.epochs.unwrap_or(EPOCHS) * per_epoch);
    let warmup = args.warmup.unwrap_or((steps * 3).div_ceil(100)).min(steps);
    let peak = args.rate.unwrap_or(RATE);
    let course = Course {
        tuning,
        items,
        seed: args.seed,
        batch,
        schedule: Schedule { peak, warmup, steps },
        folder,
        save_every: args.save_every,
        stop_after: args.stop_after,
        cancel: &cancel,
    };
    let Some(tuning) = course.go()? else { return Ok(Outcome::Interrupted) };
    tuned::write(&tuning, answerer, &args.name, &args.out)?;
    tell(&format!("tuned: {}; ask it with --answerer {0}", args.out.display()));
    if left_out == 0 {
        return Ok(Outcome::Done);
    }
    tell(&format!("{left_out} instructions were left out; each has a line above"));
    Ok(Outcome::SomeFailed)
}

/// How instructions become what is learned from.
struct Gathering<'a> {
    tuning: &'a Tuning,
    reading: Stretches<'a>,
    cache: PathBuf,
}

/// A stretch of a file, by begin and end.
type Span = (u64, u64);

impl Gathering<'_> {
    /// Features of every stretch, computed once, and the conversations about it. Returns them in the
    /// instructions' order, and how many of these are left out; each has a line that says why.
    fn gather(&self, all: Vec<Instruction>, videos: &Videos) -> Result<(Vec<Item>, u64)> {
        fs_err::create_dir_all(&self.cache)?;
        let (mut items, mut failed) = (Vec::new(), 0);
        let mut files: BTreeMap<PathBuf, BTreeMap<Span, Vec<Instruction>>> = BTreeMap::new();
        for one in all {
            let is_empty =
                one.turns.iter().any(|(q, a)| q.trim().is_empty() || a.trim().is_empty());
            let usable = if is_empty {
                Err(anyhow::anyhow!("a question or an answer is empty"))
            } else if !self.tuning.fits(&one.turns)? {
                Err(anyhow::anyhow!("it is longer than the language model reads"))
            } else if let Some(unknown) = self.tuning.unknown(&one.turns)? {
                Err(anyhow::anyhow!("the language model has no word for `{}`", escaped(unknown)))
            } else {
                videos.find(&one.video)
            };
            match usable {
                Ok(path) => {
                    let spans = files.entry(path).or_default();
                    spans.entry((one.from_ns, one.to_ns)).or_default().push(one);
                }
                Err(error) => {
                    failed += 1;
                    tell(&format!("left out: line {}: {error:#}", one.line));
                }
            }
        }
        let count = files.len();
        for (number, (path, spans)) in files.into_iter().enumerate() {
            if self.reading.cancel.is_cancelled() {
                break;
            }
            let features = match self.file(&path, spans.keys().copied().collect()) {
                Ok(features) => features,
                Err(error) => {
                    failed += spans.values().map(Vec::len).sum::<usize>() as u64;
                    tell(&format!("left out: {}: {error:#}", path.display()));
                    continue;
                }
            };
            for (span, about) in spans {
                let Some(features) = features.get(&span) else {
                    failed += about.len() as u64;
                    let lines: Vec<String> = about.iter().map(|one| one.line.to_string()).collect();
                    let (shown, lines) = (path.display(), lines.join(", "));
                    tell(&format!(
                        "left out: {shown}: nothing can be seen in the time of line {lines}"
                    ));
                    continue;
                };
                for some in about.chunks(TOGETHER) {
                    items.push(Item {
                        line: some[0].line,
                        video: some[0].video.clone(),
                        features: features.clone(),
                        lessons: some.iter().map(|one| one.turns.clone()).collect(),
                    });
                }
            }
            if (number + 1).is_multiple_of(50) {
                tell(&format!("{} of {count} files looked at", number + 1));
            }
        }
        items.sort_by_key(|item| item.line);
        Ok((items, failed))
    }

    /// Where the features of stretches of one file lie. What cannot be seen is missing.
    fn file(&self, path: &Path, spans: Vec<Span>) -> Result<BTreeMap<Span, PathBuf>> {
        let source = FileSource::try_new(path)?;
        let reading = &self.reading;
        let content = identify(&source, reading.cancel, |_| ())?.content_hash;
        let len = 2 * reading.window.length() * self.tuning.frame_len();
        let (mut there, mut wanted) = (BTreeMap::new(), Vec::new());
        for span in spans {
            let (from_ns, to_ns) = span;
            let mut key = blake3::Hasher::new();
            key.update(b"tuning").update(self.tuning.frozen_hash().as_bytes());
            key.update(content.as_bytes());
            let how = format!("{:?} {:?} {from_ns} {to_ns}", reading.window, reading.decode);
            let file = self.cache.join(key.update(how.as_bytes()).finalize().to_hex().as_str());
            if fs_err::metadata(&file).is_ok_and(|about| about.len() == len as u64) {
                there.insert(span, file);
            } else {
                wanted.push(Wanted { what: (span, file), from_ns, to_ns });
            }
        }
        if !wanted.is_empty() {
            reading.read(path, wanted, |(span, file), frames| {
                let features = self.tuning.features(frames)?;
                let bytes: Vec<u8> =
                    features.iter().flat_map(|value| value.to_le_bytes()).collect();
                let partial = file.with_extension("partial");
                fs_err::write(&partial, bytes)?;
                fs_err::rename(&partial, &file)?;
                there.insert(span, file);
                Ok(())
            })?;
        }
        Ok(there)
    }
}

impl Item {
    fn look(&self, tuning: &Tuning) -> Result<Look> {
        let bytes = fs_err::read(&self.features)?;
        let states: Vec<f16> =
            bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
        Ok(tuning.look(tuning.most_frames(), states, &self.lessons)?)
    }
}

impl Course<'_> {
    /// All that the course follows from. Of another, none of it is gone on with.
    fn settings(&self) -> Value {
        let mut data = blake3::Hasher::new();
        for item in &self.items {
            let key = item.features.file_name().unwrap_or_default().to_string_lossy();
            data.update(format!("{key} {:?}\n", item.lessons).as_bytes());
        }
        json!({
            "tunes": self.tuning.start_hash().to_hex().as_str(),
            "frames": self.tuning.most_frames(),
            "seed": self.seed,
            "batch": self.batch,
            "rate": self.schedule.peak,
            "warmup": self.schedule.warmup,
            "steps": self.schedule.steps,
            "stretches": self.items.len(),
            "data": data.finalize().to_hex().as_str(),
        })
    }

    /// Tunes to the end. None: it was stopped before.
    fn go(self) -> Result<Option<Tuning>> {
        let mut optimiser = Optimiser::new(AdamW { beta2: 0.999, decay: 0.0, ..AdamW::default() });
        // Shared with the pupil: what is loaded into these is loaded into that.
        let mut open = self.tuning.pupil.network.weights.only_open();
        let settings = self.settings();
        run::same_settings(&self.folder, &settings)?;
        let (mut done, mut losses) = self.take_up(&settings, &mut open, &mut optimiser)?;
        let steps = self.schedule.steps;
        if done > 0 {
            tell(&format!("going on after step {done} of {steps}"));
        }
        let (begun, began_at) = (Instant::now(), done);
        while done < steps {
            if self.cancel.is_cancelled() || self.stop_after.is_some_and(|stop| done >= stop) {
                self.save(&open, &optimiser, done, &losses)?;
                tell(&format!("stopped after step {done} of {steps}; the same command goes on"));
                return Ok(None);
            }
            losses.push(self.step(&mut optimiser, done)?);
            done += 1;
            if done.is_multiple_of(self.save_every) || done == steps {
                self.save(&open, &optimiser, done, &losses)?;
                let pace = (done - began_at) as f64 / begun.elapsed().as_secs_f64();
                let loss = losses.last().copied().unwrap_or_default();
                tell(&format!("step {done} of {steps}: loss {loss:.4}, {pace:.2} steps/s"));
            }
        }
        Ok(Some(self.tuning))
    }

    fn step(&self, optimiser: &mut Optimiser, step: usize) -> Result<f32> {
        let which = drawn(self.seed, self.items.len(), self.batch, step);
        let looks: Vec<Look> = which
            .iter()
            .map(|at| self.items[*at].look(&self.tuning))
            .collect::<Result<_>>()
            .context("kept features cannot be read back")?;
        let clips: Vec<(&Look, Vec<usize>)> =
            looks.iter().map(|look| (look, (0..look.questions()).collect())).collect();
        let rate = self.schedule.rate(step);
        let loss = self.tuning.pupil.step(optimiser, &clips, Pooling::Adapter, rate);
        loss.map_err(|error| {
            let named = which.iter().map(|at| &self.items[*at]);
            let named = named.map(|item| escaped(&format!("{} (line {})", item.video, item.line)));
            let named = named.collect::<Vec<_>>().join(", ");
            anyhow::anyhow!(
                "step {step} failed, on {named}: {error}; the last checkpoint is kept: a lower \
                 --rate, in a new folder, may help"
            )
        })
    }

    /// Begins, or takes up what an earlier run left: how many steps are done, and their losses.
    fn take_up(
        &self,
        settings: &Value,
        open: &mut Weights,
        optimiser: &mut Optimiser,
    ) -> Result<(usize, Vec<f32>)> {
        let checkpoint = self.folder.join(CHECKPOINT);
        if !fs_err::exists(&checkpoint)? {
            run::write_settings(&self.folder, settings)?;
            return Ok((0, Vec::new()));
        }
        train::check(&checkpoint, open)?;
        let done = train::load(&checkpoint, open, optimiser)?;
        let path = self.folder.join(LOSSES);
        let text = fs_err::read_to_string(&path)?;
        let number = |line: &str| line.split_once(',')?.1.parse().ok();
        let losses: Option<Vec<f32>> = text.lines().skip(1).take(done).map(number).collect();
        match losses.filter(|losses| losses.len() == done) {
            Some(losses) => Ok((done, losses)),
            None => bail!("{} does not hold the losses of {done} steps", path.display()),
        }
    }

    /// Losses and their plot first: with a checkpoint, the losses of all its steps are there.
    fn save(
        &self,
        open: &Weights,
        optimiser: &Optimiser,
        done: usize,
        losses: &[f32],
    ) -> Result<()> {
        let mut csv = vec!["step,loss".to_owned()];
        csv.extend(losses.iter().enumerate().map(|(step, loss)| format!("{step},{loss}")));
        run::put(&self.folder, LOSSES, &(csv.join("\n") + "\n"))?;
        let panel = ("mean loss of a word of the answers", losses.to_vec());
        run::put(&self.folder, PLOT, &plot::svg(&[panel]))?;
        let path = self.folder.join(CHECKPOINT);
        train::save(&path, open, optimiser, done)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
