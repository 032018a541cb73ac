//! Trains the bundled answerer: the one place where the synthetic world's questions meet the model's
//! training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use candle_core::Device;
use footage_model::ModelConfig;
use footage_model::conversation::{LlamaConfig, Template};
use footage_model::train::instruct::{AnswererSheet, Look, Open, Pooling, Pupil, Shown};
use footage_model::train::{self, AdamW, Network, Optimiser, Schedule, Weights};
use footage_synth::{Counterpart, Fit, Question, QuestionKind, Split, View, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// What is trained, how long, and where it is put. The defaults are the recipe of the answerer in
/// `models/mini`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for checkpoints; a training that was stopped goes on from there
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
    /// The image model
    #[arg(long, value_name = "DIR", default_value = "models/mini")]
    pub model: PathBuf,
    /// Folder for the finished answerer
    #[arg(long, value_name = "DIR", default_value = "models/mini/answerer")]
    pub out: PathBuf,
    /// Steps with pictures
    #[arg(long, value_name = "STEPS", default_value_t = 1500)]
    pub pictures: usize,
    /// Steps with clips, while the branch is closed
    #[arg(long, value_name = "STEPS", default_value_t = 600)]
    pub clips: usize,
    /// Steps with clips, while the branch learns too
    #[arg(long, value_name = "STEPS", default_value_t = 700)]
    pub tuning: usize,
    /// What the language model reads of clips while the branch is closed
    #[arg(long, value_name = "TOKENS", default_value = "adapter", value_parser = pooling)]
    pub pooling: Pooling,
    /// Held-back clips to measure with
    #[arg(long, value_name = "CLIPS", default_value_t = 600)]
    pub gallery: usize,
    /// Only measure what was trained so far, and write it
    #[arg(long)]
    pub finish: bool,
}

impl Args {
    /// What the language model reads while the branch is closed; none while it is open.
    fn settled(&self, stage: Stage) -> Option<Pooling> {
        match stage {
            Stage::Pictures => Some(Pooling::Adapter),
            Stage::Clips => Some(self.pooling),
            Stage::Tuning => None,
        }
    }
}

fn pooling(text: &str) -> Result<Pooling, String> {
    match text {
        "adapter" => Ok(Pooling::Adapter),
        "mean" => Ok(Pooling::Mean),
        "space-and-time" => Ok(Pooling::SpaceAndTime),
        _ => Err("choose adapter, mean or space-and-time".to_owned()),
    }
}

/// Side of the image model's input, frames of a clip, and frames per second: those of `models/mini`.
const IMAGE: usize = 64;
const FRAMES: usize = 8;
const RATE: f32 = 2.0;
const VIEW: View = View::square(IMAGE, Fit::Stretch);

/// Clips of a step, and questions about each.
const BATCH: usize = 16;
const QUESTIONS: usize = 12;
/// Looks that are rendered together.
const BUNDLE: usize = 256;
/// Bundles of pictures and of clips, and steps after which the next is rendered.
const PICTURES: usize = 40;
const CLIPS: usize = 24;
const NEXT: usize = 25;
/// With clips, every so many steps there are pictures, so that nothing is forgotten.
const RECALL: usize = 5;
/// Steps between checkpoints.
const SAVE: usize = 100;

/// What a language model of the synthetic world needs.
const LANGUAGE: LlamaConfig = LlamaConfig {
    width: 128,
    layers: 4,
    heads: 4,
    kv_heads: 4,
    mlp: 384,
    // As many as the tokenizer has.
    vocab: 0,
    context: 256,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    turns_neighbours: false,
};

/// One of the three parts of the course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pictures,
    Clips,
    Tuning,
}

/// Questions with their kinds, about something that was filmed.
type Filmed = (Shown, Vec<(QuestionKind, bool)>);

fn filmed(frames: Vec<Vec<u8>>, questions: Vec<Question>) -> Filmed {
    let is_choice = |question: &str| question.contains(" or the ");
    let kinds = questions.iter().map(|asked| (asked.kind, is_choice(&asked.question))).collect();
    let questions = questions.into_iter().map(|asked| (asked.question, asked.answer)).collect();
    (Shown { frames, questions }, kinds)
}

fn picture(world: &World, rng: &mut ChaCha8Rng, split: Split) -> Filmed {
    let picture = world.sample_image(rng, split, VIEW);
    filmed(vec![picture.rgb], picture.questions)
}

fn clip(world: &World, rng: &mut ChaCha8Rng, split: Split) -> Filmed {
    let clip = world.sample_clip(rng, split, VIEW, FRAMES, RATE);
    filmed(clip.frames, clip.questions)
}

/// Clips, of which many differ from their neighbour only in direction or in order.
fn clips(world: &World, rng: &mut ChaCha8Rng, count: usize) -> Vec<Filmed> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let counterpart = match rng.next_u32() % 100 {
            0..20 => Counterpart::Direction,
            20..50 => Counterpart::Order,
            _ => {
                all.push(clip(world, rng, Split::Train));
                continue;
            }
        };
        let (one, other) =
            world.sample_clip_pair(rng, Split::Train, counterpart, VIEW, FRAMES, RATE);
        all.extend([one, other].map(|clip| filmed(clip.frames, clip.questions)));
    }
    all.truncate(count);
    all
}

/// A tokenizer that has all words with which the world is asked about, and no others.
fn tokenizer(world: &World) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let view = View::square(8, Fit::Stretch);
    let mut texts: Vec<String> = Vec::new();
    for at in 0..6000 {
        let split = if at % 4 == 0 { Split::Held } else { Split::Train };
        let clip = world.sample_clip(&mut rng, split, view, 4, 1.0);
        for asked in clip.questions {
            if asked.kind != QuestionKind::Elsewhere {
                texts.push(asked.question);
            }
            texts.push(asked.answer);
        }
    }
    for thing in world.vocabulary().things() {
        texts.extend(thing.synonyms.iter().chain([&thing.name, &thing.plural]).cloned());
    }
    texts.push("ASSISTANT:".to_owned());
    train::talk_pieces(texts.iter().map(String::as_str), 1)
}

/// The image model as it is trained with.
fn network(dir: &Path) -> anyhow::Result<Network> {
    let config = ModelConfig::from_json(&fs_err::read(dir.join("model.json"))?)?;
    let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu)?;
    let mut weights = Weights::default();
    for (name, tensor) in &tensors {
        weights.set(name, tensor)?;
    }
    Ok(Network { architecture: config.architecture, weights })
}

/// Trains all stages, as far as `run_dir` does not hold them yet, measures, and writes the answerer.
pub fn run(args: &Args) -> anyhow::Result<()> {
    fs_err::create_dir_all(&args.run_dir)?;
    let world = World::load()?;
    let path = args.run_dir.join("tokenizer.json");
    if !path.is_file() {
        fs_err::write(&path, tokenizer(&world))?;
    }
    let tokenizer = fs_err::read_to_string(&path)?;
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let network = network(&args.model)
        .with_context(|| format!("reading the image model in {}", args.model.display()))?;
    let pupil = Pupil::new(network, &LANGUAGE, &tokenizer, Template::Alone, &mut rng)?;
    let mut run = Run { world: &world, args, pupil, looks: BTreeMap::new() };
    let stages = [
        (Stage::Pictures, args.pictures),
        (Stage::Clips, args.clips),
        (Stage::Tuning, args.tuning),
    ];
    for (stage, steps) in stages {
        run.stage(stage, steps)?;
    }
    let is_tuned = run.args.tuning > 0 && run.checkpoint(Stage::Tuning).is_file();
    run.measure(args.gallery, 1234)?;
    let sheet = AnswererSheet { name: "mini", vision: "..", frames: FRAMES, has_adapter: is_tuned };
    run.pupil
        .export(sheet, &args.out)
        .with_context(|| format!("writing the answerer to {}", args.out.display()))
}

/// A training under way.
struct Run<'a> {
    world: &'a World,
    args: &'a Args,
    pupil: Pupil,
    /// Looks by whether they are clips.
    looks: BTreeMap<bool, Vec<Look>>,
}

/// A generator for one purpose: the same for a training that was interrupted.
fn generator(purpose: u64, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(purpose);
    rng.set_stream(number as u64);
    rng
}

impl Run<'_> {
    fn checkpoint(&self, stage: Stage) -> PathBuf {
        let name = format!("{stage:?}.safetensors").to_lowercase();
        self.args.run_dir.join(name)
    }

    /// Renders, until there are as many bundles.
    fn fill(&mut self, is_clips: bool, bundles: usize, stage: Stage) -> anyhow::Result<()> {
        let has = self.looks.get(&is_clips).map_or(0, Vec::len) / BUNDLE;
        for number in has..bundles {
            let mut rng = generator(if is_clips { 31 } else { 30 }, number);
            let some = if is_clips {
                clips(self.world, &mut rng, BUNDLE)
            } else {
                (0..BUNDLE).map(|_| picture(self.world, &mut rng, Split::Train)).collect()
            };
            let shown: Vec<Shown> = some.into_iter().map(|(shown, _)| shown).collect();
            let seed = if is_clips { 33 } else { 32 };
            let mut looks = self.pupil.look(&shown, Some((seed, number)))?;
            if let Some(pooling) = self.args.settled(stage) {
                self.pupil.settle(&mut looks, pooling)?;
            }
            self.looks.entry(is_clips).or_default().extend(looks);
        }
        Ok(())
    }

    fn stage(&mut self, stage: Stage, steps: usize) -> anyhow::Result<()> {
        let checkpoint = self.checkpoint(stage);
        if steps == 0 || (self.args.finish && !checkpoint.is_file()) {
            return Ok(());
        }
        self.pupil.open(Open { branch: stage == Stage::Tuning, language: true });
        let peak = match stage {
            Stage::Pictures => 2e-3,
            Stage::Clips => 1.5e-3,
            Stage::Tuning => 1e-3,
        };
        let schedule = Schedule { peak, warmup: 50.min(steps / 4), steps };
        let mut optimiser = Optimiser::new(AdamW::default());
        let first = if checkpoint.is_file() {
            train::load(&checkpoint, &mut self.pupil.network.weights, &mut optimiser)?
        } else {
            0
        };
        if first >= steps || self.args.finish {
            println!("{stage:?}: {first} steps done");
            return Ok(());
        }
        for looks in self.looks.values_mut() {
            match self.args.settled(stage) {
                Some(pooling) => self.pupil.settle(looks, pooling)?,
                None => looks.iter_mut().for_each(Look::unsettle),
            }
        }
        let (began, mut loss) = (Instant::now(), 0.0);
        for step in first..steps {
            let is_clips = stage != Stage::Pictures && !step.is_multiple_of(RECALL);
            let at_most = if is_clips { CLIPS } else { PICTURES };
            let bundles = match stage {
                // With clips, all pictures that are needed are there.
                Stage::Clips | Stage::Tuning if !is_clips => PICTURES / 4,
                _ => (2 + step / NEXT).min(at_most),
            };
            self.fill(is_clips, bundles, stage)?;
            let mut rng = generator(40 + stage as u64, step);
            let batch = self.draw(is_clips, bundles * BUNDLE, &mut rng);
            let rate = schedule.rate(step);
            let pooling = self.args.settled(stage).unwrap_or(Pooling::Adapter);
            loss += self.pupil.step(&mut optimiser, &batch, pooling, rate)? / 20.0;
            let done = step + 1;
            if done.is_multiple_of(20) {
                let speed = (done - first) as f32 / began.elapsed().as_secs_f32();
                println!("{stage:?} {done}/{steps}: loss {loss:.4}, {speed:.2} steps/s");
                loss = 0.0;
            }
            if done.is_multiple_of(SAVE) || done == steps {
                train::save(&checkpoint, &self.pupil.network.weights, &optimiser, done)?;
            }
            if done.is_multiple_of(5 * SAVE) || done == steps {
                self.measure(100, 99)?;
            }
        }
        Ok(())
    }

    /// Clips of a step, each with some of its questions.
    fn draw(&self, is_clips: bool, of: usize, rng: &mut ChaCha8Rng) -> Vec<(&Look, Vec<usize>)> {
        let looks = self.looks.get(&is_clips).map_or(&[][..], Vec::as_slice);
        let mut any = |count: usize| (rng.next_u64() % count.max(1) as u64) as usize;
        (0..BATCH)
            .map(|_| {
                let look = &looks[any(of.min(looks.len()))];
                let mut which: Vec<usize> = (0..look.questions()).collect();
                for at in 0..which.len() {
                    let other = at + any(which.len() - at);
                    which.swap(at, other);
                }
                which.truncate(QUESTIONS);
                (look, which)
            })
            .collect()
    }

    /// Prints how many questions about held-back pictures and clips are answered right, word by word.
    fn measure(&self, count: usize, seed: u64) -> anyhow::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for what in ["pictures", "clips"] {
            let some: Vec<Filmed> = (0..count)
                .map(|_| match what {
                    "pictures" => picture(self.world, &mut rng, Split::Held),
                    _ => clip(self.world, &mut rng, Split::Held),
                })
                .collect();
            let (shown, kinds): (Vec<Shown>, Vec<_>) = some.into_iter().unzip();
            let looks = self.pupil.look(&shown, Some((seed, 0)))?;
            for pooling in [Pooling::Adapter, Pooling::Mean] {
                let mut score: BTreeMap<(QuestionKind, bool), [usize; 2]> = BTreeMap::new();
                let all: Vec<&Look> = looks.iter().collect();
                for (some, kinds) in all.chunks(BATCH).zip(kinds.chunks(BATCH)) {
                    let right = self.pupil.examine(some, pooling)?;
                    for (is_right, kind) in right.iter().flatten().zip(kinds.iter().flatten()) {
                        let [right, all] = score.entry(*kind).or_default();
                        *right += usize::from(*is_right);
                        *all += 1;
                    }
                }
                println!("{what}, held back, {pooling:?}: {}", told(&score));
            }
        }
        Ok(())
    }
}

fn told(score: &BTreeMap<(QuestionKind, bool), [usize; 2]>) -> String {
    let share = |[right, all]: [usize; 2]| 100.0 * right as f32 / all.max(1) as f32;
    let total = score.values().fold([0, 0], |sum, own| [sum[0] + own[0], sum[1] + own[1]]);
    let kinds = score.iter().map(|((kind, is_choice), own)| {
        let choice = if *is_choice { " of two" } else { "" };
        format!("{kind:?}{choice} {:.0} % of {}", share(*own), own[1])
    });
    format!("{:.1} % of {}; {}", share(total), total[1], kinds.collect::<Vec<_>>().join(", "))
}
