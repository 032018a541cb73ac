//! `footage search`: a sentence to moments.

mod json;
mod selection;
mod table;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ArgGroup;
use footage_clip::{ClipId, RgbFrame, SourceRecord};
use footage_index::FindClips;
use footage_search::{Answer, Found, Play, Query, QueryError, Wanted, find_moments};

use crate::cli::Stated;
use crate::compose::House;
use crate::outcome::Outcome;
use crate::when::{When, ago};

pub(crate) use self::selection::named;

/// Find moments by a sentence, a picture, or a clip that is like them
///
/// A moment is only called a match when the model is confident enough; when nothing is, the answer
/// is "no match". It always says how much footage was searched.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("query").required(true).args(["text", "image", "clip"])))]
#[command(after_help = "\
Examples:
  footage search \"a red car turns left\"
  footage search \"a dog\" --source garden.mp4 --from 1:00 --to 5:00
  footage search \"a delivery\" --since 2d --limit 3 --json
  footage search --image rucksack.jpg
  footage search --clip 0b0e7c5e-6c3f-5c83-9c0e-2d6a3f1c9a55    more like this clip

A file without a date of its own counts as filmed when it was last written.")]
pub(crate) struct Args {
    /// What to look for, in words; quotes are only needed for what the shell would take
    #[arg(value_name = "TEXT")]
    text: Vec<String>,
    /// Look for what looks like this picture (JPEG or PNG)
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Look for more like this clip of the index
    #[arg(long, value_name = "ID")]
    clip: Option<ClipId>,
    /// Only in this source: its id, or its name; repeatable
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Only from here on: media time (90, 1:30, 0:01:30), or a date and time (2026-05-01T14:30)
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Only up to here, in the same form as --from
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Only what was filmed this long ago or later: 90s, 30m, 2h, 7d, 2w
    #[arg(long, value_name = "AGO", value_parser = ago, conflicts_with_all = ["from", "to"])]
    since: Option<std::time::Duration>,
    /// Most moments to show [setting: search.limit]
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// Least confidence of a match, 0 to 1; 0 is the same as --all [setting: `search.min_confidence`]
    #[arg(long, value_name = "P")]
    min_confidence: Option<f32>,
    /// Show the nearest moments too where they are no match
    #[arg(long)]
    all: bool,
    /// Print JSON; docs/search.md describes it
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Stated> {
        let limit = self.limit.map(|n| ("search.limit", n.to_string(), "--limit"));
        // Zero asks for everything; the threshold itself stays, to tell which are matches.
        let least = self.min_confidence.filter(|least| *least != 0.0);
        let least = least.map(|p| ("search.min_confidence", p.to_string(), "--min-confidence"));
        limit.into_iter().chain(least).collect()
    }

    fn wants_all(&self) -> bool {
        self.all || self.min_confidence == Some(0.0)
    }

    fn query(&self) -> Result<Query> {
        if let Some(path) = &self.image {
            return Ok(Query::Picture(picture(path)?));
        }
        match self.clip {
            Some(clip) => Ok(Query::Clip(clip)),
            None if self.sentence().is_empty() => Err(QueryError::Empty.into()),
            None => Ok(Query::Text(self.sentence())),
        }
    }

    fn sentence(&self) -> String {
        self.text.join(" ").trim().to_owned()
    }

    fn as_json(&self) -> json::QueryJson {
        match (&self.image, self.clip) {
            (Some(path), _) => json::QueryJson::Image(path.to_string_lossy().into_owned()),
            (None, Some(clip)) => json::QueryJson::Clip(clip),
            (None, None) => json::QueryJson::Text(self.sentence()),
        }
    }

    /// The query as people call it.
    fn asked_for(&self) -> String {
        match (&self.image, self.clip) {
            (Some(path), _) => format!("the picture {}", path.display()),
            (None, Some(clip)) => format!("clip {clip}"),
            (None, None) => format!("\"{}\"", self.sentence()),
        }
    }
}

/// A moment that is shown, with what makes it watchable.
struct Shown {
    found: Found,
    play: Option<Play>,
    thumbnail: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    // What is typed wrong is said before anything is loaded.
    let query = args.query()?;
    let store = house.open_existing_store().await?;
    let records = store.ledger.sources()?;
    let filter = args.filter(&records)?;
    let is_meant = |record: &SourceRecord| {
        filter.sources.is_empty() || filter.sources.contains(&record.source_id)
    };
    let sources = store.known(records.into_iter().filter(is_meant), filter.utc.is_some()).await?;
    let model = house.open_model()?;
    let asked = query.ask(&model, &store.index).await?;
    let search = &house.settings.search;
    let wanted = Wanted {
        limit: search.limit,
        min_confidence: search.min_confidence,
        all: args.wants_all(),
        gap_ns: search.gap_ns,
        except: asked.except,
    };
    let answer =
        find_moments(&store.index, &sources, &asked.embedding, &filter, &wanted, asked.calibration)
            .await?;
    let shown = shown(&answer, &store.index, &house.thumbnails()).await?;
    let text = if args.json {
        json::answer(args.as_json(), store.index.model(), &answer, &shown, search)?
    } else {
        table::answer(&args.asked_for(), &answer, &shown, house)
    };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Done)
}

pub(crate) fn picture(path: &Path) -> Result<RgbFrame> {
    let read = || -> Result<RgbFrame> {
        let mut reader = image::ImageReader::open(path)?.with_guessed_format()?;
        let mut limits = image::Limits::default();
        limits.max_alloc = Some(512 << 20);
        reader.limits(limits);
        let pixels = reader.decode()?.into_rgb8();
        Ok(RgbFrame::try_new(pixels.width(), pixels.height(), pixels.into_raw())?)
    };
    read().with_context(|| {
        format!("{} cannot be read as a picture: give a JPEG or PNG", path.display())
    })
}

async fn shown(answer: &Answer, index: &dyn FindClips, folder: &Path) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for found in &answer.moments {
        let moment = &found.moment;
        let play = moment.media.as_ref().map(|media| Play::of(media, &moment.span));
        let thumbnail = match index.thumbnail(moment.best).await? {
            Some(jpeg) => match written(folder, moment.best, &jpeg) {
                Ok(path) => Some(path),
                // A search is worth having without pictures too, on a full disk for one.
                Err(error) => {
                    tracing::warn!(%error, "no thumbnail");
                    None
                }
            },
            None => None,
        };
        shown.push(Shown { found: found.clone(), play, thumbnail });
    }
    Ok(shown)
}

/// Writes a thumbnail unless it lies there already; whoever looks sees all of it or nothing.
fn written(folder: &Path, clip: ClipId, jpeg: &[u8]) -> Result<PathBuf> {
    let path = folder.join(format!("{clip}.jpg"));
    let is_there = fs_err::metadata(&path).is_ok_and(|held| held.len() == jpeg.len() as u64);
    if !is_there {
        fs_err::create_dir_all(folder)?;
        let partial = folder.join(format!("{clip}.{}.part", std::process::id()));
        fs_err::write(&partial, jpeg)?;
        fs_err::rename(&partial, &path)?;
    }
    Ok(path)
}
