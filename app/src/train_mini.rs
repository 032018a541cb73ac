//! Trains `models/mini`: the one place where the synthetic world meets the model's training.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use footage_clip::Rate;
use footage_model::config::{
    Architecture, BranchConfig, BranchMode, EndOfText, Fit as Scaling, PreprocessConfig, Resize,
    TextConfig, TokenizerKind, VisionConfig,
};
use footage_model::train::{
    self, AdamW, Classes, ClipLosses, Exam, Example, Gallery, Hits, Network, Optimiser, Pool,
    Schedule, Side, Stage1, Stage2, Thing, Words,
};
use footage_model::{ModelConfig, WindowDefaults};
use footage_synth::{Counterpart, Fit, Look, Motion, PlacedObject, Scene, Split, Tint, View};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// What is trained, how long, and where it is put. The defaults are the recipe of `models/mini`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for checkpoints; a training that was stopped goes on from there
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
    /// Folder for the finished model
    #[arg(long, value_name = "DIR", default_value = "models/mini")]
    pub out: PathBuf,
    /// Steps of 64 pictures, for CLIP's two towers
    #[arg(long, value_name = "STEPS", default_value_t = 4500)]
    pub pictures: usize,
    /// Steps of 24 clips, for the branch
    #[arg(long, value_name = "STEPS", default_value_t = 2000)]
    pub clips: usize,
    /// Of these steps, the first ones that teach motions alone
    #[arg(long, value_name = "STEPS", default_value_t = 400)]
    pub motions: usize,
    /// Held-back clips to measure with
    #[arg(long, value_name = "CLIPS", default_value_t = 600)]
    pub gallery: usize,
}

/// Side of the model's input, pixels.
const IMAGE: usize = 64;
/// Frames of a clip, and frames per second.
const FRAMES: usize = 8;
const RATE: f32 = 2.0;

/// Clips of a step of the second stage, at least.
const BATCH: usize = 24;
/// Groups of one or two clips that are kept, that are there at first, and that come in each step.
const ROOM: usize = 6000;
const AT_FIRST: usize = 800;
const FRESH: usize = 3;
/// Steps whose mean losses make a line of the log.
const LOG: usize = 20;

/// The most tokens of a text.
const CONTEXT: usize = 32;

/// The synthetic world as training sees it.
struct Mini {
    world: footage_synth::World,
    classes: Classes,
}

fn motion_phrases(motion: Motion) -> &'static [&'static str] {
    match motion {
        Motion::Still => &["standing still", "something stands still", "not moving"],
        Motion::Right => {
            &["moving right", "something moves to the right", "moving from left to right"]
        }
        Motion::Left => {
            &["moving left", "something moves to the left", "moving from right to left"]
        }
        Motion::Up => &["moving up", "something moves upwards", "rising"],
        Motion::Down => &["moving down", "something moves downwards", "sinking"],
        Motion::Closer => &["coming closer", "something moves towards the camera", "approaching"],
        Motion::Away => &["moving away", "something moves away from the camera", "receding"],
        Motion::Circle => &["moving in a circle", "something circles around", "circling"],
        Motion::Bounce => &["bouncing", "something bounces up and down", "jumping"],
        Motion::EnterLeft => &["entering from the left", "something comes in from the left"],
        Motion::EnterRight => &["entering from the right", "something comes in from the right"],
        Motion::LeaveLeft => &["leaving to the left", "something moves out to the left"],
        Motion::LeaveRight => &["leaving to the right", "something moves out to the right"],
    }
}

/// What a motion is when time runs backwards.
fn backwards(motion: Motion) -> Motion {
    match motion {
        Motion::EnterLeft => Motion::LeaveLeft,
        Motion::LeaveLeft => Motion::EnterLeft,
        Motion::EnterRight => Motion::LeaveRight,
        Motion::LeaveRight => Motion::EnterRight,
        _ => motion.opposite().unwrap_or(motion),
    }
}

fn owned(phrases: &[&str]) -> Vec<String> {
    phrases.iter().map(ToString::to_string).collect()
}

impl Mini {
    fn load() -> anyhow::Result<Self> {
        let world = footage_synth::World::load()?;
        let (mut things, mut plurals) = (Vec::new(), Vec::new());
        for thing in world.vocabulary().things() {
            let nouns = || std::iter::once(&thing.name).chain(&thing.synonyms);
            let with_article = |noun: &str| {
                let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
                format!("{} {noun}", if vowel { "an" } else { "a" })
            };
            match thing.look {
                Look::Emoji(_) => {
                    let bare = nouns().cloned();
                    let ways = bare.chain(nouns().map(|noun| with_article(noun)));
                    things.push(ways.chain([thing.plural.clone()]).collect());
                    plurals.push(thing.plural.clone());
                }
                Look::Shape(_) => {
                    for tint in Tint::ALL {
                        let bare = nouns().map(|noun| format!("{} {noun}", tint.name()));
                        let full =
                            nouns().map(|noun| with_article(&format!("{} {noun}", tint.name())));
                        things.push(bare.chain(full).collect());
                        plurals.push(format!("{} {}", tint.name(), thing.plural));
                    }
                }
            }
        }
        let places = Scene::ALL
            .iter()
            .map(|scene| owned(&[scene.places(), scene.nouns()].concat()))
            .collect();
        let motions = Motion::ALL.iter().map(|&motion| owned(motion_phrases(motion))).collect();
        let backwards =
            Motion::ALL.iter().map(|&motion| index(&Motion::ALL, &backwards(motion))).collect();
        Ok(Self { world, classes: Classes { things, plurals, places, motions, backwards } })
    }

    /// A tokenizer that has every word of the world's captions and names.
    fn tokenizer(&self) -> String {
        let corpus = self.world.captions_corpus(1, 60_000);
        let Classes { things, places, motions, .. } = &self.classes;
        let names: Vec<&String> = things.iter().chain(places).chain(motions).flatten().collect();
        let texts = corpus.iter().chain(std::iter::repeat_n(names, 4).flatten());
        train::word_pieces(texts.map(String::as_str), 4, CONTEXT)
    }

    /// The class of a placed object: emoji first, then shapes by figure and colour.
    fn class(&self, object: &PlacedObject) -> u32 {
        let mut class = 0;
        for thing in self.world.vocabulary().things() {
            let is_it = thing.name == object.name;
            match thing.look {
                Look::Emoji(_) if is_it => return class,
                Look::Emoji(_) => class += 1,
                Look::Shape(_) if is_it => {
                    let tint = Tint::ALL.iter().position(|t| Some(t.name()) == object.colour);
                    return class + tint.unwrap_or_default() as u32;
                }
                Look::Shape(_) => class += Tint::ALL.len() as u32,
            }
        }
        class
    }

    fn example(
        &self,
        frames: Vec<Vec<u8>>,
        captions: Vec<String>,
        scene: Scene,
        objects: Vec<PlacedObject>,
    ) -> Example {
        let things = objects
            .into_iter()
            .map(|object| Thing {
                class: self.class(&object),
                bounds: object.boxes.iter().map(|b| b.map(|b| [b.x0, b.y0, b.x1, b.y1])).collect(),
                motion: index(&Motion::ALL, &object.motion),
            })
            .collect();
        Example { frames, captions, place: index(&Scene::ALL, &scene), things }
    }
}

fn index<T: PartialEq>(all: &[T], one: &T) -> u32 {
    all.iter().position(|other| other == one).unwrap_or_default() as u32
}

fn split(side: Side) -> Split {
    match side {
        Side::Train => Split::Train,
        Side::Held => Split::Held,
    }
}

const VIEW: View = View::square(IMAGE, Fit::Stretch);

impl train::World for Mini {
    fn classes(&self) -> &Classes {
        &self.classes
    }

    fn picture(&self, rng: &mut ChaCha8Rng, side: Side) -> Example {
        let picture = self.world.sample_image(rng, split(side), VIEW);
        self.example(vec![picture.rgb], vec![picture.caption], picture.scene, picture.objects)
    }

    fn clip(&self, rng: &mut ChaCha8Rng, side: Side) -> Example {
        let clip = self.world.sample_clip(rng, split(side), VIEW, FRAMES, RATE);
        self.example(clip.frames, clip.captions, clip.scene, clip.objects)
    }

    fn turned(&self, rng: &mut ChaCha8Rng, side: Side) -> [Example; 2] {
        self.pair(rng, side, Counterpart::Direction)
    }

    fn exchanged(&self, rng: &mut ChaCha8Rng, side: Side) -> [Example; 2] {
        self.pair(rng, side, Counterpart::Order)
    }
}

impl Mini {
    fn pair(&self, rng: &mut ChaCha8Rng, side: Side, counterpart: Counterpart) -> [Example; 2] {
        let pair = self.world.sample_clip_pair(rng, split(side), counterpart, VIEW, FRAMES, RATE);
        [pair.0, pair.1].map(|c| self.example(c.frames, c.captions, c.scene, c.objects))
    }
}

fn architecture(vocab: usize) -> Architecture {
    Architecture {
        family: footage_model::Family::Clip,
        vision: VisionConfig {
            image: IMAGE,
            patch: 8,
            width: 128,
            heads: 4,
            layers: 5,
            mlp: 512,
            stages: None,
        },
        text: TextConfig {
            vocab,
            width: 128,
            heads: 4,
            layers: 3,
            mlp: 512,
            context: CONTEXT,
            eot: EndOfText::Argmax,
            causal: true,
            pad: 0,
        },
        projection: 128,
        branch: Some(BranchConfig {
            system: footage_model::System::BtAdapter,
            layers: 3,
            mode: BranchMode::Gated,
            out_norm: 1e4,
            middle_norm: 1e2,
            max_frames: 64,
        }),
    }
}

/// Trains both stages, as far as `run_dir` does not hold them yet, measures, and writes the model.
pub fn run(args: &Args) -> anyhow::Result<()> {
    fs_err::create_dir_all(&args.run_dir)?;
    let mini = Mini::load()?;
    let path = args.run_dir.join("tokenizer.json");
    if !path.is_file() {
        fs_err::write(&path, mini.tokenizer())?;
    }
    let tokenizer = fs_err::read_to_string(&path)?;
    let words = Words::from_json(&tokenizer)?;
    let run = Run { mini: &mini, words: &words, folder: &args.run_dir };
    let mut network = run.pictures(args.pictures)?;
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    network.add_branch(&mut rng)?;
    network.add_motions(mini.classes.motions.len(), &mut rng)?;
    network.weights.close(&train::CLOSED);
    run.clips(&mut network, args.clips, args.motions)?;
    let calibration = run.measure(&network, args.gallery)?;
    let config = ModelConfig {
        name: "mini".to_owned(),
        description: "A small CLIP with a BT-Adapter branch that knows the synthetic world and \
                      nothing else: for tests and demonstrations."
            .to_owned(),
        licence: "Apache-2.0".to_owned(),
        architecture: network.architecture.clone(),
        preprocess: PreprocessConfig {
            fit: Scaling::Stretch,
            short_side: None,
            resize: Resize::Area,
            mean: [train::MEAN; 3],
            std: [train::DEVIATION; 3],
        },
        tokenizer: TokenizerKind::File,
        weights: vec![footage_model::WEIGHTS_FILE.to_owned()],
        window: WindowDefaults::try_new(FRAMES, 2, Rate::try_new(RATE as u32, 1)?)?,
        calibration: Some(calibration),
    };
    train::export(&network, &config, &tokenizer, &args.out)
        .with_context(|| format!("writing the model to {}", args.out.display()))
}

/// A training under way.
struct Run<'a> {
    mini: &'a Mini,
    words: &'a Words,
    folder: &'a Path,
}

impl Run<'_> {
    /// The first stage: CLIP's two towers.
    fn pictures(&self, steps: usize) -> anyhow::Result<Network> {
        let schedule = Schedule { peak: 1.2e-3, warmup: 150.min(steps / 4), steps };
        let stage = Stage1 { batch: 64, schedule, seed: 7 };
        let architecture = architecture(self.words.count());
        let mut rng = ChaCha8Rng::seed_from_u64(stage.seed);
        let mut network = Network::new(architecture, &mut rng)?;
        let scale = candle_core::Tensor::new(&[14.0_f32.ln()], &candle_core::Device::Cpu)?;
        network.weights.set(train::SCALE, &scale)?;
        let mut optimiser = Optimiser::new(AdamW::default());
        let checkpoint = self.folder.join("pictures.safetensors");
        let first = resume(&checkpoint, &mut network, &mut optimiser)?;
        let began = Instant::now();
        for step in first..steps {
            let losses = stage.step(&network, &mut optimiser, self.words, self.mini, step)?;
            let done = step + 1;
            if done.is_multiple_of(20) {
                let speed = (done - first) as f32 * 64.0 / began.elapsed().as_secs_f32();
                println!("picture step {done}/{steps}: {losses:.3?}, {speed:.0} pictures/s");
            }
            if done.is_multiple_of(150) || done == steps {
                let score = train::score(&network, self.words, self.mini, 384, 99)?;
                println!("picture step {done}/{steps}, held back: {score:.3?}");
                train::save(&checkpoint, &network.weights, &optimiser, done)?;
            }
        }
        Ok(network)
    }

    /// The second stage: the branch, and the words for what it sees.
    fn clips(&self, network: &mut Network, steps: usize, motions: usize) -> anyhow::Result<()> {
        let schedule = Schedule { peak: 2e-3, warmup: 60.min(steps / 4), steps };
        let stage = Stage2 { batch: BATCH, motions_first: motions, schedule, seed: 8 };
        let mut optimiser = Optimiser::new(AdamW { text: 0.3, ..AdamW::default() });
        let checkpoint = self.folder.join("clips.safetensors");
        let first = resume(&checkpoint, network, &mut optimiser)?;
        let exam = Exam::set(network, self.mini, 128, 64, 99)?;
        let mut pool = Pool::new(ROOM, stage.seed);
        let mut began = Instant::now();
        let mut mean = ClipLosses::default();
        for step in first..steps {
            pool.fill(network, self.mini, AT_FIRST + FRESH * step)?;
            if step == first {
                began = Instant::now();
            }
            let classes = &self.mini.classes;
            let losses = stage.step(network, &mut optimiser, self.words, classes, &pool, step)?;
            let done = step + 1;
            mean.add(&losses, 1.0 / LOG as f32);
            if done.is_multiple_of(LOG) {
                let speed = (done - first) as f32 / began.elapsed().as_secs_f32();
                println!("clip step {done}/{steps}: {mean:.3?}, {speed:.2} steps/s");
                mean = ClipLosses::default();
            }
            if done.is_multiple_of(100) || done == steps {
                let [branch, plain] = exam.score(network, self.words, classes)?;
                println!("clip step {done}/{steps}, held back: {branch:.3?}\nplain: {plain:.3?}");
                train::save(&checkpoint, &network.weights, &optimiser, done)?;
            }
        }
        Ok(())
    }

    /// Prints what the card says, and fits the calibration on clips of their own.
    fn measure(
        &self,
        network: &Network,
        count: usize,
    ) -> anyhow::Result<footage_model::Calibration> {
        let exam = Exam::set(network, self.mini, count, count / 2, 1234)?;
        let [branch, plain] = exam.score(network, self.words, &self.mini.classes)?;
        println!("held back, with the branch: {branch:#?}\nplain CLIP: {plain:#?}");
        let hits = |seed: u64| -> anyhow::Result<Hits> {
            let examples = train::held_clips(self.mini, count, seed);
            let gallery = Gallery::embed(network, &examples, seed)?;
            Ok(train::ask(network, self.words, self.mini, &gallery, seed)?)
        };
        let fit = hits(4321)?.fit();
        println!("{fit:?}: {:#?}", hits(5678)?.trust(fit));
        Ok(fit)
    }
}

/// Takes up a checkpoint where there is one; returns the number of steps done.
fn resume(
    checkpoint: &Path,
    network: &mut Network,
    optimiser: &mut Optimiser,
) -> anyhow::Result<usize> {
    if !checkpoint.is_file() {
        return Ok(0);
    }
    Ok(train::load(checkpoint, &mut network.weights, optimiser)?)
}
