//! A folder of videos, each with its truth beside it.

use std::path::{Path, PathBuf};

use crate::error::SynthError;
use crate::film::{Film, extensions, write_video};
use crate::reel::Reel;
use crate::split::Split;
use crate::view::View;
use crate::world::World;

/// Which videos a folder shall have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Collection {
    /// What everything follows from.
    pub seed: u64,
    /// How many videos.
    pub videos: usize,
    /// Length of each.
    pub seconds: f64,
    /// From which side of the split.
    pub split: Split,
    /// Raster of the frames.
    pub view: View,
    /// Frames per second.
    pub fps: u32,
    /// How they are encoded.
    pub film: Film,
}

impl Default for Collection {
    /// Three minutes at 320x240 and 15 frames a second, of combinations no training has seen.
    fn default() -> Self {
        Self {
            seed: 1,
            videos: 3,
            seconds: 60.0,
            split: Split::Held,
            view: View::CAMERA,
            fps: 15,
            film: Film::default(),
        }
    }
}

/// A video of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The video.
    pub video: PathBuf,
    /// Its truth, JSON.
    pub truth: PathBuf,
    /// Whether an earlier run had made it, so that nothing was done.
    pub was_there: bool,
}

/// Renders the collection into `dir`, which is made if need be, and tells `each` of every video
/// as it is done. A video whose truth lies there with the same bytes is not rendered again. The
/// truth is written last: a video without it is unfinished.
///
/// # Errors
/// Those of [`write_video`], and [`SynthError::Io`] for the folder and the truth; the videos done
/// before stay.
pub fn render_collection(
    world: &World,
    dir: &Path,
    collection: &Collection,
    mut each: impl FnMut(&Rendered),
) -> Result<Vec<Rendered>, SynthError> {
    fs_err::create_dir_all(dir)?;
    let mut done = Vec::with_capacity(collection.videos);
    for index in 0..collection.videos {
        let rendered = render_one(world, dir, collection, index)?;
        each(&rendered);
        done.push(rendered);
    }
    Ok(done)
}

fn render_one(
    world: &World,
    dir: &Path,
    collection: &Collection,
    index: usize,
) -> Result<Rendered, SynthError> {
    let Collection { seed, seconds, split, view, fps, film, .. } = *collection;
    // Neighbouring seeds share no video.
    let own_seed = seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
    let reel = Reel::draw(world, own_seed, split, seconds, view, fps);
    let name = format!("small-world-{seed}-{index:03}");
    let stem = dir.join(&name);
    let truth = dir.join(format!("{name}.json"));
    let json = reel.truth().to_json().map_err(std::io::Error::from)?;
    let existing = extensions().map(|e| dir.join(format!("{name}.{e}"))).find(|p| p.is_file());
    if let Some(video) = existing
        && fs_err::read(&truth).is_ok_and(|bytes| bytes == json.as_bytes())
    {
        return Ok(Rendered { video, truth, was_there: true });
    }
    let video = write_video(&reel, &stem, film)?;
    let unfinished = dir.join(format!("{name}.json.part"));
    fs_err::write(&unfinished, json)?;
    fs_err::rename(&unfinished, &truth)?;
    Ok(Rendered { video, truth, was_there: false })
}
