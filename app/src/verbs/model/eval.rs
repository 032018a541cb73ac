//! `footage model eval`: how well a model does on a labelled data set.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use footage_clip::Embedding;
use footage_model::Model;
use footage_pipeline::{FileSource, identify};
use footage_search::{Recognition, Retrieval};
use serde_json::{Value, json};

use super::qa;
use crate::cli::Stated;
use crate::compose::House;
use crate::datasets::{Row, Source, Videos};
use crate::outcome::Outcome;
use crate::stretches::{Stretches, Wanted};
use crate::terminal::{escaped, masked, tell};
use crate::verbs::index::stopped_by_signals;

/// Measure a model on a labelled data set
///
/// With sentences: how well texts find videos, and videos texts (R@1, R@5, R@10, median and mean rank).
/// With classes: how often a class's name is the nearest, or among the nearest five. Each video, or
/// each stretch of one, is one clip of frames spread over it, as published evaluations do. What is
/// equally near counts as it would on average, in any order.
///
/// With questions: how often whoever `footage ask` would ask gives the right answer, word by word, and
/// in the eyes of a judge where one is set.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage model eval --data captions.csv
  footage model eval --format msrvtt --data MSRVTT_JSFUSION_test.csv --videos MSRVTT/videos
  footage model eval --format ucf101 --data testlist01.txt --videos UCF-101 --keep kept
  footage --model clip-vit-b32 model eval --format didemo --data test_data.json --videos DiDeMo
  footage model eval --format activitynet-qa --data test_q.json --videos ActivityNet --keep kept
  footage model eval --format video-chatgpt --data benchmark --videos Test_Videos --keep kept \\
    --answerer models/llava --judge https://api.example.com/v1 --judge-model gpt-4o-mini

Exit code: 0 measured on all, 1 measured but something had to be left out (each has a line that says
why, up to twenty), 2 it failed, 130 interrupted.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) data: Source,
    /// What is said of a class, with {} for its name
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    pub(super) prompt: String,
    /// Keep embeddings, answers and verdicts in this folder, and use what is kept there
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
    /// Who answers questions: `mini`, an endpoint's address or a folder [setting: ask.answerer]
    #[arg(long, value_name = "URL|DIR")]
    answerer: Option<String>,
    /// Name of the model at the answerer's endpoint [setting: ask.model]
    #[arg(long, value_name = "NAME")]
    answerer_model: Option<String>,
    /// Who judges answers: an endpoint's address [setting: judge.endpoint]
    #[arg(long, value_name = "URL")]
    judge: Option<String>,
    /// Name of the model at the judge's endpoint [setting: judge.model]
    #[arg(long, value_name = "NAME")]
    judge_model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Lines about what is left out: a data set with half of its videos gone has tens of thousands.
const MOST_LINES: usize = 20;

/// Texts that are embedded together.
const BATCH: usize = 64;

/// Videos, or stretches of them, and what is said of each.
#[derive(Debug, Default)]
struct Gallery {
    videos: Vec<Embedding>,
    /// What is said, and of which video.
    captions: Vec<(String, usize)>,
    left_out: usize,
    /// Lines that said why something was left out.
    said: usize,
}

pub(crate) fn run(args: &Args, house: &House) -> Result<Outcome> {
    if args.data.format.asks() {
        return qa::run(args, house);
    }
    ensure!(
        args.flags().is_empty(),
        "--answerer and --judge are for data sets of questions: state one with --format"
    );
    ensure!(args.prompt.contains("{}"), "--prompt must say where the name goes: {{}}");
    let (dataset, videos) = args.data.read()?;
    ensure!(
        dataset.classes.is_some() || args.prompt == "{}",
        "--prompt is for data sets of classes"
    );
    let model = house.open_model()?;
    let cancel = stopped_by_signals()?;
    let (window, decode) = (house.settings.window.of(&model)?, house.settings.decode.of(&model));
    let reading = Stretches { window, decode, cancel: &cancel };
    if let Some(keep) = &args.keep {
        fs_err::create_dir_all(keep)?;
    }
    let looking = Looking { model: &model, reading, keep: args.keep.as_deref() };
    let gallery = looking.gather(dataset.rows, &videos);
    if cancel.is_cancelled() {
        return Ok(Outcome::Interrupted);
    }
    ensure!(!gallery.videos.is_empty(), "none of the videos could be used: nothing was measured");
    if gallery.left_out > 0 {
        tell(&format!("{} of {} captions are left out", gallery.left_out, gallery.total()));
    }
    let figures = match &dataset.classes {
        Some(classes) => recognition(&model, &gallery, classes, &args.prompt)?,
        None => retrieval(&model, &gallery)?,
    };
    args.print(&model, &gallery, &figures)?;
    Ok(if gallery.left_out == 0 { Outcome::Done } else { Outcome::SomeFailed })
}

/// How videos are looked at.
struct Looking<'a> {
    model: &'a Model,
    reading: Stretches<'a>,
    keep: Option<&'a Path>,
}

/// A stretch of a file, by begin and end.
type Span = (u64, u64);

impl Looking<'_> {
    fn gather(&self, rows: Vec<Row>, videos: &Videos) -> Gallery {
        let mut gallery = Gallery::default();
        let mut files: BTreeMap<PathBuf, BTreeMap<Span, Vec<Row>>> = BTreeMap::new();
        for row in rows {
            let found = if row.caption.is_empty() {
                Err(anyhow::anyhow!("its caption is empty"))
            } else {
                videos.find(&row.video)
            };
            match found {
                Ok(path) => {
                    let spans = files.entry(path).or_default();
                    spans.entry((row.from_ns, row.to_ns)).or_default().push(row);
                }
                Err(error) => gallery.leave_out(1, &format!("line {}: {error:#}", row.line)),
            }
        }
        let count = files.len();
        for (number, (path, spans)) in files.into_iter().enumerate() {
            if self.reading.cancel.is_cancelled() {
                break;
            }
            let said: usize = spans.values().map(Vec::len).sum();
            match self.file(&path, spans.keys().copied().collect()) {
                Ok(embeddings) => gallery.add(embeddings, spans),
                Err(error) => {
                    gallery.leave_out(said, &format!("{}: {error:#}", path.display()));
                }
            }
            if (number + 1).is_multiple_of(50) {
                tell(&format!("{} of {count} videos looked at", number + 1));
            }
        }
        gallery
    }

    /// The embeddings of stretches of one file.
    fn file(&self, path: &Path, spans: Vec<Span>) -> Result<BTreeMap<Span, Embedding>> {
        let source = FileSource::try_new(path)?;
        let content = identify(&source, self.reading.cancel, |_| ())?.content_hash;
        let (mut embeddings, mut wanted) = (BTreeMap::new(), Vec::new());
        for span in spans {
            let kept = self.keep.map(|folder| folder.join(self.key(content.as_bytes(), span)));
            if let Some(file) = &kept
                && let Some(embedding) = self.kept(file)?
            {
                embeddings.insert(span, embedding);
                continue;
            }
            let (from_ns, to_ns) = span;
            wanted.push(Wanted { what: (span, kept), from_ns, to_ns });
        }
        if wanted.is_empty() {
            return Ok(embeddings);
        }
        let unseen = self.reading.read(path, wanted, |(span, kept), frames| {
            let features = self.model.video().frame_features(frames)?;
            let embedding = self.model.video().embed_clips(&[features])?.pop();
            let embedding = embedding.context("the model gave no embedding")?;
            if let Some(file) = kept {
                let bytes: Vec<u8> =
                    embedding.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
                let partial = file.with_extension("partial");
                fs_err::write(&partial, bytes)?;
                fs_err::rename(&partial, &file)?;
            }
            embeddings.insert(span, embedding);
            Ok(())
        })?;
        for ((from_ns, _), _) in unseen {
            tell(&format!(
                "{}: nothing can be seen of what begins at {} s",
                path.display(),
                from_ns as f64 / 1e9
            ));
        }
        Ok(embeddings)
    }

    /// What an embedding follows from, as a name.
    fn key(&self, content: &[u8], (from_ns, to_ns): Span) -> String {
        let Stretches { window, decode, .. } = &self.reading;
        let mut key = blake3::Hasher::new();
        key.update(self.model.fingerprint().to_string().as_bytes()).update(content);
        key.update(format!("{window:?} {decode:?} {from_ns} {to_ns}").as_bytes());
        key.finalize().to_hex().as_str().to_owned()
    }

    /// None where it is not there, or not whole.
    fn kept(&self, file: &Path) -> Result<Option<Embedding>> {
        if !fs_err::exists(file)? {
            return Ok(None);
        }
        let bytes = fs_err::read(file)?;
        let values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((values.len() == self.model.dim()).then(|| Embedding::restore(values).ok()).flatten())
    }
}

impl Gallery {
    fn leave_out(&mut self, captions: usize, why: &str) {
        self.left_out += captions;
        self.said += 1;
        match self.said {
            ..=MOST_LINES => tell(&format!("left out: {why}")),
            said if said == MOST_LINES + 1 => tell("more is left out, for reasons not shown here"),
            _ => {}
        }
    }

    fn total(&self) -> usize {
        self.captions.len() + self.left_out
    }

    fn add(&mut self, mut embeddings: BTreeMap<Span, Embedding>, spans: BTreeMap<Span, Vec<Row>>) {
        for (span, rows) in spans {
            let Some(embedding) = embeddings.remove(&span) else {
                self.left_out += rows.len();
                continue;
            };
            let video = self.videos.len();
            self.videos.push(embedding);
            self.captions.extend(rows.into_iter().map(|row| (row.caption, video)));
        }
    }
}

/// Embeddings of texts. Says how many lose their end.
fn texts(model: &Model, texts: &[&str]) -> Result<Vec<Embedding>> {
    let mut cut_off = 0;
    for text in texts {
        cut_off += usize::from(!model.text().fits(text)?);
    }
    if cut_off > 0 {
        tell(&format!("{cut_off} texts are longer than the model reads; their ends are cut off"));
    }
    let mut embeddings = Vec::with_capacity(texts.len());
    for some in texts.chunks(BATCH) {
        embeddings.extend(model.text().embed_texts(some)?);
    }
    Ok(embeddings)
}

fn retrieval(model: &Model, gallery: &Gallery) -> Result<Value> {
    let Gallery { videos, captions, .. } = gallery;
    let sentences: Vec<&str> = captions.iter().map(|(text, _)| text.as_str()).collect();
    let sentences = texts(model, &sentences)?;
    let began = Instant::now();
    let is_of = |text: usize, video: usize| captions[text].1 == video;
    let to_video = Retrieval::measure(&sentences, videos, is_of);
    let to_text = Retrieval::measure(videos, &sentences, |video, text| is_of(text, video));
    Ok(json!({
        "text_to_video": to_video,
        "video_to_text": to_text,
        "ranking_s": began.elapsed().as_secs_f64(),
    }))
}

fn recognition(
    model: &Model,
    gallery: &Gallery,
    classes: &[String],
    prompt: &str,
) -> Result<Value> {
    let prompted: Vec<String> = classes.iter().map(|name| prompt.replace("{}", name)).collect();
    let names = texts(model, &prompted.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (mut videos, mut labels) = (Vec::new(), Vec::new());
    for (class, video) in &gallery.captions {
        let label = classes.iter().position(|name| name == class);
        labels.push(label.with_context(|| format!("{class} is none of the classes"))?);
        videos.push(gallery.videos[*video].clone());
    }
    Ok(json!({ "recognition": Recognition::measure(&videos, &names, &labels), "prompt": prompt }))
}

impl Args {
    pub(super) fn flags(&self) -> Vec<Stated> {
        let stated = [
            ("ask.answerer", &self.answerer, "--answerer"),
            ("ask.model", &self.answerer_model, "--answerer-model"),
            ("judge.endpoint", &self.judge, "--judge"),
            ("judge.model", &self.judge_model, "--judge-model"),
        ];
        let stated =
            stated.into_iter().filter_map(|(key, to, flag)| Some((key, to.clone()?, flag)));
        stated.collect()
    }

    fn print(&self, model: &Model, gallery: &Gallery, figures: &Value) -> Result<()> {
        let mut out = stdout().lock();
        if self.json {
            let mut described = json!({
                "model": { "name": model.name(), "fingerprint": model.fingerprint() },
                "data": masked(&self.data.place().display().to_string()),
                "videos": gallery.videos.len(),
                "captions": gallery.captions.len(),
                "left_out": gallery.left_out,
            });
            if let (Some(described), Some(figures)) =
                (described.as_object_mut(), figures.as_object())
            {
                described.extend(figures.clone());
            }
            writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
            return Ok(out.flush()?);
        }
        write!(out, "{}", table(&escaped(model.name()), gallery, figures))?;
        Ok(out.flush()?)
    }
}

fn table(name: &str, gallery: &Gallery, figures: &Value) -> String {
    let percent = |value: &Value| format!("{:.1} %", value.as_f64().unwrap_or_default() * 100.0);
    let number = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or_default());
    let (videos, captions) = (gallery.videos.len(), gallery.captions.len());
    if let Some(named) = figures.get("recognition") {
        return format!(
            "{name}: {videos} videos, {} classes\nthe nearest is right    {:>8}\nright in five           {:>8}\n",
            named["classes"],
            percent(&named["top_1"]),
            percent(&named["top_5"]),
        );
    }
    let head = format!(
        "{name}: {videos} videos, {captions} sentences\n{:14} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "", "R@1", "R@5", "R@10", "MdR", "MnR"
    );
    let line = |title: &str, figures: &Value| {
        format!(
            "{title:14} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            percent(&figures["recall_at_1"]),
            percent(&figures["recall_at_5"]),
            percent(&figures["recall_at_10"]),
            number(&figures["median_rank"]),
            number(&figures["mean_rank"]),
        )
    };
    let to_video = line("text to video", &figures["text_to_video"]);
    head + &to_video + &line("video to text", &figures["video_to_text"])
}
