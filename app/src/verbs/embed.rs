//! `footage embed`: vectors as JSON, for who brings a database of their own.

use std::io::{Write as _, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use footage_clip::{ClipRecord, Embedding, ModelRef};
use footage_model::Model;
use footage_pipeline::{Cancel, FileSource, NoEarlierWork};
use footage_topic::{Follow, MemoryTopic, Topic as _, TopicMessage};
use serde::Serialize;
use serde_json::{Value, json};

use crate::compose::{House, model_ref};
use crate::outcome::Outcome;
use crate::requests::search::Picture;

/// Print the vector of a text, a picture or a video's clips as JSON
///
/// One line of JSON for each, with the model's name and fingerprint: vectors of different
/// fingerprints cannot be compared. All have unit length, so a dot product is a cosine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage embed text \"a red car turns left\"
  footage embed image rucksack.jpg
  footage embed video garden.mp4 | jq -c '[.from_s, .to_s, .embedding]'")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sentences, each an argument
    Text {
        /// A sentence
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Pictures: JPEG or PNG
    Image {
        /// A picture
        #[arg(required = true, value_name = "FILE")]
        file: Vec<PathBuf>,
    },
    /// The clips of a video file, as `footage index` would cut them; nothing is indexed
    Video {
        /// A video
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Records between the file and whoever reads the output, which may be slow.
const QUEUE: NonZeroUsize = NonZeroUsize::new(64).unwrap();

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let model = house.open_model()?;
    match &args.what {
        What::Text { text } => {
            for text in text {
                ensure!(
                    !text.trim().is_empty(),
                    "there is nothing to embed in \"{text}\": give a sentence"
                );
                let mut embeddings = model.text().embed_texts(&[text])?;
                let embedding = embeddings.pop().context("the model gave no embedding")?;
                print(&model, &json!({ "text": text }), &embedding)?;
            }
        }
        What::Image { file } => {
            for file in file {
                let embedding = model.embed_image(&Picture::read(file)?.pixels()?)?;
                print(&model, &json!({ "file": file.to_string_lossy() }), &embedding)?;
            }
        }
        What::Video { file } => video(file, Arc::new(model), house).await?,
    }
    Ok(Outcome::Done)
}

async fn video(file: &Path, model: Arc<Model>, house: &House) -> Result<()> {
    let file = FileSource::try_new(file)?;
    let topic = Arc::new(MemoryTopic::new(QUEUE));
    let follower = topic.follow().await?;
    let (archive, stage) = house.archive(&model, topic.clone(), Arc::new(NoEarlierWork))?;
    let cancel = Cancel::default();
    let printing = tokio::spawn({
        let (model, topic, cancel) = (model.clone(), topic.clone(), cancel.clone());
        async move {
            let printed = print_clips(&model, follower).await;
            // Nobody reads on: whoever waits to publish must not wait on.
            cancel.cancel();
            topic.close();
            printed
        }
    });
    let mut outcomes = archive.index(vec![file], &cancel, Arc::new(|_| ())).await;
    drop(archive);
    topic.close();
    printing.await.context("printing ended unexpectedly")??;
    tokio::task::spawn_blocking(|| stage.join()).await?.context("the model's thread failed")?;
    match outcomes.pop().as_ref().and_then(|outcome| outcome.failure()) {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}

async fn print_clips(model: &Model, mut follower: Box<dyn Follow>) -> Result<()> {
    while let Some(delivery) = follower.receive().await? {
        if let TopicMessage::Clip(clip) = &delivery.message {
            print(model, &described(clip), &clip.embedding)?;
        }
        follower.commit(delivery.position).await?;
    }
    Ok(())
}

fn described(clip: &ClipRecord) -> Value {
    json!({
        "file": clip.media.as_ref().map(|media| &media.path),
        "clip_id": clip.clip_id,
        "source_id": clip.source_id,
        "from_s": clip.span.start_s(),
        "to_s": clip.span.end_s(),
    })
}

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    /// What was embedded: an object.
    #[serde(flatten)]
    what: &'a Value,
    model: ModelRef,
    embedding: &'a [f32],
}

fn print(model: &Model, what: &Value, embedding: &Embedding) -> Result<()> {
    let line = Line { what, model: model_ref(model), embedding: embedding.as_slice() };
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&line)?)?;
    Ok(out.flush()?)
}
