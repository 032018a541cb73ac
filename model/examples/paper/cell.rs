//! One training with one seed, and its figures.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use footage_clip::Embedding;
use footage_model::train::Schedule;
use footage_model::train::pretrain::{
    Course, Features, LossWeights, ModelFiles, Pretraining, Recipe, Start,
};
use footage_model::{CONFIG_FILE, System, TOKENIZER_FILE, WEIGHTS_FILE};
use half::f16;
use serde::{Deserialize, Serialize};

use crate::Size;
use crate::material::{Clip, Material, Twins};

/// Which losses beside VTC teach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objectives {
    pub(crate) mbta: bool,
    pub(crate) mbca: bool,
}

impl Objectives {
    pub(crate) const VTC: Self = Self { mbta: false, mbca: false };
    pub(crate) const ALL: Self = Self { mbta: true, mbca: true };
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) system: System,
    pub(crate) layers: usize,
    pub(crate) objectives: Objectives,
    pub(crate) masked: f64,
    pub(crate) seed: u64,
}

impl Cell {
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn recipe(&self) -> Recipe {
        let Objectives { mbta, mbca } = self.objectives;
        let share = |is_used: bool| f64::from(u8::from(is_used));
        let weights = LossWeights { vtc: 1.0, mbta: share(mbta), mbca: share(mbca) };
        Recipe { masked: self.masked, weights, ..Recipe::paper() }
    }

    fn file(&self) -> String {
        let Objectives { mbta, mbca } = self.objectives;
        let losses = ["-mbta", "-mbca"].into_iter().zip([mbta, mbca]);
        let losses: String = losses.filter_map(|(name, is_used)| is_used.then_some(name)).collect();
        let (system, percent) = (self.system.name(), (100.0 * self.masked).round());
        format!("{system}-k{}-vtc{losses}-mask{percent}-seed{}.json", self.layers, self.seed)
    }
}

/// What a trained cell does. Shares, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// A caption finds its clip first, or among the first five.
    pub(crate) recall_1: f64,
    pub(crate) recall_5: f64,
    /// A sentence prefers the clip it is true of to that clip's time-reversed twin.
    pub(crate) direction: f64,
    pub(crate) order: f64,
    pub(crate) negation: f64,
    /// Seconds of processor time that the training took.
    pub(crate) seconds: f64,
    /// Mean VTC of the last tenth of the steps, of masked clips.
    pub(crate) vtc: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    cell: Cell,
    size: Size,
    figures: Figures,
}

/// The model that all cells begin with, the clips they learn from, and where figures are kept.
pub(crate) struct Study {
    config: Vec<u8>,
    weights: Vec<u8>,
    tokenizer: Vec<u8>,
    size: Size,
    run_dir: PathBuf,
    material: OnceLock<Material>,
}

/// The clips of a course, cut to the states that a system reads.
struct Lessons<'a> {
    clips: &'a [Clip],
    cut: Cut,
}

/// Which of the kept states.
#[derive(Clone, Copy)]
struct Cut {
    /// Values of one state of one frame.
    state: usize,
    /// States kept.
    kept: usize,
    first: usize,
    last: usize,
}

impl Cut {
    /// `[T, L, 1+N, D]` to `[T, K, 1+N, D]`.
    fn of(self, states: &[f16]) -> Vec<f16> {
        // The states kept begin with the output of the first block.
        let wanted = (self.first - 1) * self.state..self.last * self.state;
        let frames = states.chunks_exact(self.kept * self.state);
        frames.flat_map(|frame| &frame[wanted.clone()]).copied().collect()
    }

    /// The same with time running backwards.
    fn reversed(self, states: &[f16]) -> Vec<f16> {
        let frames = states.chunks_exact(self.kept * self.state).rev();
        self.of(&frames.flatten().copied().collect::<Vec<_>>())
    }
}

impl Features for Lessons<'_> {
    fn len(&self) -> usize {
        self.clips.len()
    }

    fn clip(&self, index: usize) -> std::io::Result<Vec<f16>> {
        Ok(self.cut.of(&self.clips[index].states))
    }

    fn text(&self, index: usize) -> &[f32] {
        &self.clips[index].text
    }
}

impl Study {
    pub(crate) fn new(model: &Path, size: Size, run_dir: PathBuf) -> Result<Self> {
        Ok(Self {
            config: fs_err::read(model.join(CONFIG_FILE))?,
            weights: fs_err::read(model.join(WEIGHTS_FILE))?,
            tokenizer: fs_err::read(model.join(TOKENIZER_FILE))?,
            size,
            run_dir,
            material: OnceLock::new(),
        })
    }

    fn model(&self, start: Start, recipe: Recipe, seed: u64) -> Result<Pretraining> {
        let files = ModelFiles {
            config: &self.config,
            weights: &self.weights,
            tokenizer: Some(&self.tokenizer),
        };
        Ok(Pretraining::new(&files, start, recipe, seed)?)
    }

    /// Blocks of CLIP's image tower.
    fn depth(&self) -> Result<usize> {
        Ok(footage_model::ModelConfig::from_json(&self.config)?.architecture.vision.layers)
    }

    /// The clips, rendered and seen when they are first wanted.
    fn material(&self) -> Result<&Material> {
        if let Some(material) = self.material.get() {
            return Ok(material);
        }
        eprintln!("rendering {} clips", self.size.clips + self.size.gallery + 2 * self.size.twins);
        // A branch beside every block has all states.
        let start = Start::New(System::BtAdapter, Some(self.depth()?));
        let material = Material::new(&self.model(start, Recipe::paper(), 0)?, &self.size)?;
        Ok(self.material.get_or_init(|| material))
    }

    /// A cell's figures: those that are kept, or after its training.
    pub(crate) fn figures(&self, cell: &Cell) -> Result<Figures> {
        let path = self.run_dir.join(cell.file());
        if fs_err::exists(&path)? {
            let kept: Kept = serde_json::from_slice(&fs_err::read(&path)?)
                .with_context(|| format!("{} is damaged", path.display()))?;
            ensure!(
                kept.cell == *cell && kept.size == self.size,
                "{} was computed at another size: choose another --run-dir",
                path.display()
            );
            return Ok(kept.figures);
        }
        let figures = self.train(cell)?;
        eprintln!("{}: {figures:.3?}", cell.file());
        let kept = Kept { cell: *cell, size: self.size.clone(), figures };
        let partial = path.with_extension("partial");
        fs_err::write(&partial, serde_json::to_string_pretty(&kept)? + "\n")?;
        fs_err::rename(&partial, &path)?;
        Ok(figures)
    }

    fn train(&self, cell: &Cell) -> Result<Figures> {
        let layers = cell.system.learns().then_some(cell.layers);
        let training = self.model(Start::New(cell.system, layers), cell.recipe(), cell.seed)?;
        let material = self.material()?;
        let (first, last) = training.states_taken();
        let (states, kept) = (last + 1 - first, self.depth()?);
        ensure!(first > 0, "the states before the first block are not kept");
        let cut = Cut { state: training.frame_len() / states, kept, first, last };
        let lessons = Lessons { clips: &material.training, cut };
        let Size { steps, batch, frames, rate, .. } = self.size;
        let schedule = Schedule { peak: rate, warmup: steps / 20, steps };
        let course = Course { seed: cell.seed, frames, batch, accumulate: 1, schedule };
        let mut optimiser = course.optimiser(&training);
        let began = processor_seconds()?;
        let steps = if cell.system.learns() { steps } else { 0 };
        let mut vtc = Vec::new();
        for step in 0..steps {
            vtc.push(f64::from(course.step(&training, &mut optimiser, &lessons, step)?.vtc));
        }
        let seconds = processor_seconds()? - began;
        let tail = &vtc[steps - steps / 10..];
        let exam = Exam { training: &training, cut };
        let [recall_1, recall_5] = exam.recall(&material.gallery)?;
        let (direction, denied) = exam.preferences(&material.direction, &material.negation)?;
        Ok(Figures {
            recall_1,
            recall_5,
            direction,
            order: exam.preferences(&material.order, &[])?.0,
            negation: denied,
            seconds,
            vtc: tail.iter().sum::<f64>() / tail.len().max(1) as f64,
        })
    }
}

/// Measures a trained system by the path of daily use.
struct Exam<'a> {
    training: &'a Pretraining,
    cut: Cut,
}

fn cosine(video: &Embedding, text: &[f32]) -> f32 {
    video.as_slice().iter().zip(text).map(|(a, b)| a * b).sum()
}

/// One for yes, half for a tie. What differs by the order of a sum alone is a tie.
fn preferred(own: f32, other: f32) -> f64 {
    if (own - other).abs() < 1e-6 { 0.5 } else { f64::from(u8::from(own > other)) }
}

impl Exam<'_> {
    /// How often a caption's clip is the nearest, or among the nearest five. What is equally near
    /// counts as it would on average, in any order.
    fn recall(&self, gallery: &[Clip]) -> Result<[f64; 2]> {
        let clips: Vec<_> = gallery.iter().map(|clip| self.cut.of(&clip.states)).collect();
        let videos = self.training.embed(&clips)?;
        let mut recalls = [0.0; 2];
        for (own, clip) in videos.iter().zip(gallery) {
            let at = cosine(own, &clip.text);
            let all = videos.iter().map(|video| cosine(video, &clip.text));
            let (nearer, as_near) = all.fold((0.0_f64, 0.0_f64), |(nearer, as_near), other| {
                match other.total_cmp(&at) {
                    Ordering::Greater => (nearer + 1.0, as_near),
                    Ordering::Equal => (nearer, as_near + 1.0),
                    Ordering::Less => (nearer, as_near),
                }
            });
            for (recall, k) in recalls.iter_mut().zip([1.0_f64, 5.0]) {
                *recall += ((k - nearer) / as_near).clamp(0.0, 1.0) / gallery.len() as f64;
            }
        }
        Ok(recalls)
    }

    /// How often a sentence prefers its own clip to the twin, and how often a denial does.
    fn preferences(&self, twins: &Twins, denials: &[[Vec<f32>; 2]]) -> Result<(f64, f64)> {
        let clips: Vec<_> = twins
            .iter()
            .flat_map(|(clip, _)| [self.cut.of(&clip.states), self.cut.reversed(&clip.states)])
            .collect();
        let videos = self.training.embed(&clips)?;
        let share = |both: f64| both / (2.0 * twins.len().max(1) as f64);
        let told = |own: &[f32], other: &[f32], pair: &[Embedding]| {
            let [clip, twin] = pair else { return 0.0 };
            preferred(cosine(clip, own), cosine(twin, own))
                + preferred(cosine(twin, other), cosine(clip, other))
        };
        let pairs = videos.chunks_exact(2);
        let said = twins.iter().zip(pairs.clone());
        let said = said.map(|((clip, other), pair)| told(&clip.text, other, pair)).sum();
        let denied = denials.iter().zip(pairs).map(|([own, other], pair)| told(own, other, pair));
        Ok((share(said), share(denied.sum())))
    }
}

/// Seconds that processors have worked for this process.
fn processor_seconds() -> Result<f64> {
    // Fields 14 and 15, in hundredths; the name before them may hold spaces.
    let stat = fs_err::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(") ").next().context("/proc/self/stat has no name")?;
    let ticks = after.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}
