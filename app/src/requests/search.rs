//! A search: from what somebody looks for to moments.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footage_clip::{ClipId, RgbFrame, SourceRecord};
use footage_index::FindClips;
use footage_search::{Answer, By, Found, Play, Query, QueryError, Wanted, find_moments};
use serde::{Deserialize, Serialize};

use super::Desk;
use super::found::SearchReply;
use super::selection::{Named, filter};
use crate::when::When;

/// What is looked for, where, and how much of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchRequest {
    pub query: LookedFor,
    /// Only these sources; all where none is named.
    #[serde(default)]
    pub sources: Vec<Named>,
    #[serde(default)]
    pub from: Option<When>,
    #[serde(default)]
    pub to: Option<When>,
    /// Only what was filmed so many seconds ago or later.
    #[serde(default)]
    pub since_s: Option<f64>,
    /// By what moments are found; video alone where nothing is asked in words.
    #[serde(default)]
    pub by: Option<By>,
    /// Most moments.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Least confidence of a match.
    #[serde(default)]
    pub min_confidence: Option<f32>,
    /// Whether the nearest moments are wanted even where they are no match.
    #[serde(default)]
    pub all: bool,
    /// Whether the moments are wanted without pictures.
    #[serde(default)]
    pub without_thumbnails: bool,
}

/// What is looked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LookedFor {
    Text(String),
    Image(Picture),
    Clip(ClipId),
}

/// A picture file, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Picture {
    /// What to call it in a reply.
    pub name: String,
    /// Its bytes, JPEG or PNG, in base64.
    pub data: String,
}

/// A moment that is shown, with what makes it watchable.
pub(super) struct Shown {
    pub(super) found: Found,
    pub(super) play: Option<Play>,
    pub(super) thumbnail: Option<PathBuf>,
}

impl SearchRequest {
    /// Finds out what is wrong with the request by itself, before anything is opened.
    pub(crate) fn check(&self) -> Result<()> {
        if let LookedFor::Text(text) = &self.query {
            ensure!(!text.trim().is_empty(), QueryError::Empty);
        } else {
            ensure!(
                self.by != Some(By::Caption),
                "captions are found by words: ask with a sentence, or by video"
            );
        }
        let limit = self.limit.unwrap_or(1);
        ensure!((1..=1000).contains(&limit), "limit is {limit}: choose 1 to 1000");
        let least = self.min_confidence.unwrap_or(0.0);
        ensure!((0.0..=1.0).contains(&least), "min_confidence is {least}: choose 0 to 1");
        Ok(())
    }

    /// Searches.
    pub(crate) async fn answer<I: FindClips>(self, desk: &Desk<I>) -> Result<SearchReply> {
        self.check()?;
        let (store, settings) = (&desk.store, &desk.house.settings.search);
        let records = store.ledger.sources()?;
        let filter = filter(&self, &records)?;
        let is_meant = |record: &SourceRecord| {
            filter.sources.is_empty() || filter.sources.contains(&record.source_id)
        };
        let sources = records.into_iter().filter(is_meant);
        let sources = store.known(sources, &filter).await?;
        let asked = query(&self.query)?.ask(&desk.model, &store.index).await?;
        let wanted = Wanted {
            by: self.by.unwrap_or(settings.by),
            limit: self.limit.unwrap_or(settings.limit),
            min_confidence: self.min_confidence.unwrap_or(settings.min_confidence),
            all: self.all,
            gap_ns: settings.gap_ns,
        };
        let index = &store.index;
        let answer = find_moments(index, &sources, &asked, &filter, &wanted).await?;
        let folder = (!self.without_thumbnails).then(|| desk.house.thumbnails());
        let shown = shown(&answer, index, folder.as_deref()).await?;
        Ok(SearchReply::new(&self.query, index.model(), &answer, &shown, &wanted, &sources))
    }
}

fn query(looked_for: &LookedFor) -> Result<Query> {
    Ok(match looked_for {
        LookedFor::Text(text) => Query::Text(text.clone()),
        LookedFor::Image(picture) => Query::Picture(picture.pixels()?),
        LookedFor::Clip(clip) => Query::Clip(*clip),
    })
}

impl Picture {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs_err::read(path)?;
        let picture =
            Self { name: path.to_string_lossy().into_owned(), data: STANDARD.encode(&bytes) };
        picture.pixels()?;
        Ok(picture)
    }

    /// Its pixels.
    pub(crate) fn pixels(&self) -> Result<RgbFrame> {
        let read = || -> Result<RgbFrame> {
            let bytes = STANDARD.decode(&self.data)?;
            let mut reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
            let mut limits = image::Limits::default();
            limits.max_alloc = Some(512 << 20);
            reader.limits(limits);
            let pixels = reader.decode()?.into_rgb8();
            Ok(RgbFrame::try_new(pixels.width(), pixels.height(), pixels.into_raw())?)
        };
        read().with_context(|| {
            format!("{} cannot be read as a picture: give a JPEG or PNG", self.name)
        })
    }
}

async fn shown(
    answer: &Answer,
    index: &dyn FindClips,
    folder: Option<&Path>,
) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for found in &answer.moments {
        let moment = &found.moment;
        let play = moment.media.as_ref().map(|media| Play::of(media, &moment.span));
        let jpeg = match folder {
            Some(folder) => index.thumbnail(moment.best).await?.map(|jpeg| (folder, jpeg)),
            None => None,
        };
        let thumbnail = match jpeg {
            Some((folder, jpeg)) => match written(folder, moment.best, &jpeg) {
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
