//! `footage search`: a sentence to moments.

mod table;

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::ArgGroup;
use footage_clip::ClipId;

use crate::cli::Stated;
use crate::compose::House;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::requests::Desk;
use crate::requests::search::{LookedFor, Picture, SearchRequest};
use crate::requests::selection::Named;
use crate::when::{When, ago};

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
  footage search \"a red car\" --by caption
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
    /// By what moments are found: video, caption or both [setting: search.by]
    #[arg(long, value_name = "WAY", value_parser = ["video", "caption", "both"])]
    by: Option<String>,
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
        let by = self.by.clone().map(|by| ("search.by", by, "--by"));
        let limit = self.limit.map(|n| ("search.limit", n.to_string(), "--limit"));
        // Zero asks for everything; the threshold itself stays, to tell which are matches.
        let least = self.min_confidence.filter(|least| *least != 0.0);
        let least = least.map(|p| ("search.min_confidence", p.to_string(), "--min-confidence"));
        by.into_iter().chain(limit).chain(least).collect()
    }

    fn wants_all(&self) -> bool {
        self.all || self.min_confidence == Some(0.0)
    }

    fn looked_for(&self) -> Result<LookedFor> {
        Ok(match (&self.image, self.clip) {
            (Some(path), _) => LookedFor::Image(Picture::read(path)?),
            (None, Some(clip)) => LookedFor::Clip(clip),
            (None, None) => LookedFor::Text(self.text.join(" ").trim().to_owned()),
        })
    }

    fn request(&self, house: &House) -> Result<SearchRequest> {
        let search = &house.settings.search;
        let request = SearchRequest {
            query: self.looked_for()?,
            sources: self.source.iter().map(|given| Named::here(given)).collect(),
            from: self.from,
            to: self.to,
            since_s: self.since.map(|since| since.as_secs_f64()),
            by: Some(search.by).filter(|_| self.by.is_some() || !self.text.is_empty()),
            limit: Some(search.limit),
            min_confidence: Some(search.min_confidence),
            all: self.wants_all(),
            without_thumbnails: false,
        };
        request.check()?;
        Ok(request)
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    // What is typed wrong is said before anything is loaded.
    let request = args.request(house)?;
    let reply = if let Some(instance) = Instance::running(&house.settings.data_dir).await? {
        instance.search(&request).await?
    } else {
        let store = Arc::new(house.open_existing_store().await?);
        let model = Arc::new(house.open_model()?);
        let desk = Desk { house: Arc::new(house.clone()), model, store };
        request.answer(&desk).await?
    };
    let text = if args.json {
        serde_json::to_string_pretty(&reply)? + "\n"
    } else {
        table::answer(&reply, &house.settings.data_dir)
    };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Done)
}
