//! `footage synth`: sample footage with known truth.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use footage_synth::{Collection, World, render_collection};

use crate::outcome::Outcome;
use crate::terminal::{counted, escaped};

/// Render sample footage: videos of a small world, with the truth about each as JSON beside it
///
/// The same seed gives the same truth. A video that lies there already is not rendered again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  footage synth --out samples --videos 3 --seconds 60
  footage index samples")]
pub(crate) struct Args {
    /// Folder to write to; made if need be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What everything in the videos follows from
    #[arg(long, value_name = "N", default_value_t = Collection::default().seed)]
    seed: u64,
    /// How many videos
    #[arg(long, value_name = "N", default_value_t = Collection::default().videos)]
    videos: usize,
    /// Length of each video, in seconds
    #[arg(long, value_name = "S", default_value_t = Collection::default().seconds)]
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let is_sane = args.seconds.is_finite() && (1.0..=86_400.0).contains(&args.seconds);
    ensure!(is_sane, "--seconds is {}: choose 1 to 86400", args.seconds);
    ensure!(
        (1..=100_000).contains(&args.videos),
        "--videos is {}: choose 1 to 100000",
        args.videos
    );
    let world = World::load().context("cannot make the small world")?;
    let collection = Collection {
        seed: args.seed,
        videos: args.videos,
        seconds: args.seconds,
        ..Collection::default()
    };
    let mut told = Ok(());
    let rendered = render_collection(&world, &args.out, &collection, |rendered| {
        let what = if rendered.was_there { "there already" } else { "rendered" };
        let line = escaped(&format!("{what}: {}", rendered.video.display()));
        // Whoever stopped reading still gets the footage.
        if told.is_ok() {
            told = writeln!(stdout(), "{line}");
        }
    })
    .with_context(|| format!("cannot render into {}", args.out.display()))?;
    told?;
    let videos = counted(rendered.len() as u64, "video");
    writeln!(stdout(), "{videos} in {}; the truth of each lies beside it", args.out.display())?;
    Ok(Outcome::Done)
}
