//! Wide and tall pictures as several squares, so that nothing at their edges is cut off.

use std::sync::Arc;

use footage_clip::{Embedding, RgbFrame};

use crate::ModelError;
use crate::encoder::{FrameFeatures, States, VideoEncoder};

/// Most squares for one picture: beyond, they lie apart, and what is between them is not seen.
const MOST_TILES: u32 = 4;

/// An encoder that looks at every tile of a frame, and takes the mean of what the tiles give.
pub(crate) struct TiledVideoEncoder {
    each: Box<dyn VideoEncoder>,
}

impl TiledVideoEncoder {
    pub(crate) fn new(each: Box<dyn VideoEncoder>) -> Self {
        Self { each }
    }
}

/// The squares of a picture, left to right or top to bottom: as many as are needed to show all of it,
/// evenly spread.
fn tiles(frame: &RgbFrame) -> Result<Vec<RgbFrame>, ModelError> {
    let (width, height) = (frame.width(), frame.height());
    let side = width.min(height);
    let rest = width.max(height) - side;
    let count = width.max(height).div_ceil(side).min(MOST_TILES);
    let offset =
        |tile: u32| (u64::from(tile) * u64::from(rest) / u64::from(count.max(2) - 1)) as u32;
    (0..count)
        .map(|tile| {
            let (left, top) = if width > height { (offset(tile), 0) } else { (0, offset(tile)) };
            let mut pixels = Vec::with_capacity(3 * (side * side) as usize);
            for row in top..top + side {
                let at = 3 * (row as usize * width as usize + left as usize);
                pixels.extend_from_slice(&frame.data()[at..at + 3 * side as usize]);
            }
            RgbFrame::try_new(side, side, pixels)
                .map_err(|error| ModelError::Config(format!("a tile is no picture: {error}")))
        })
        .collect()
}

impl VideoEncoder for TiledVideoEncoder {
    fn dim(&self) -> usize {
        self.each.dim()
    }

    fn max_frames(&self) -> usize {
        self.each.max_frames()
    }

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError> {
        let tiled = frames.iter().map(tiles).collect::<Result<Vec<_>, _>>()?;
        let counts: Vec<usize> = tiled.iter().map(Vec::len).collect();
        let all: Vec<RgbFrame> = tiled.into_iter().flatten().collect();
        let mut features = self.each.frame_features(&all)?.into_iter();
        let of_frame = |count| {
            let tiles = features.by_ref().take(count).collect();
            FrameFeatures(Arc::new(States::Tiles(tiles)))
        };
        Ok(counts.into_iter().map(of_frame).collect())
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        clips.iter().map(|clip| self.embed_clip(clip)).collect()
    }
}

impl TiledVideoEncoder {
    fn embed_clip(&self, clip: &[FrameFeatures]) -> Result<Embedding, ModelError> {
        let of_frame = |frame: &FrameFeatures| match &*frame.0 {
            States::Tiles(tiles) => Ok(tiles.clone()),
            States::Tensor(_) | States::Floats(_) => Err(ModelError::ForeignFeatures),
        };
        let frames = clip.iter().map(of_frame).collect::<Result<Vec<_>, _>>()?;
        let count = frames.iter().map(Vec::len).max().unwrap_or(0);
        // Frames of one clip have one shape; where a source changes shape, the last tile stands in.
        let strip = |tile: usize| -> Vec<FrameFeatures> {
            frames.iter().filter_map(|tiles| tiles.get(tile).or(tiles.last()).cloned()).collect()
        };
        let strips: Vec<_> = (0..count.max(1)).map(strip).collect();
        let embeddings = self.each.embed_clips(&strips)?;
        let mut mean = vec![0.0; self.dim()];
        for embedding in &embeddings {
            for (mean, value) in mean.iter_mut().zip(embedding.as_slice()) {
                *mean += value;
            }
        }
        Ok(Embedding::normalise(mean)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red is the column, green the row.
    fn ramp(width: u32, height: u32) -> RgbFrame {
        let pixels: Vec<u8> =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 0])).collect();
        RgbFrame::try_new(width, height, pixels).unwrap()
    }

    #[test]
    fn the_tiles_of_a_picture_show_both_of_its_ends() {
        for (width, height, count) in
            [(160, 90, 2), (90, 160, 2), (90, 90, 1), (250, 90, 3), (200, 10, 4), (1, 1, 1)]
        {
            let tiles = tiles(&ramp(width, height)).unwrap();
            assert_eq!(tiles.len(), count, "{width}x{height}");
            let side = width.min(height);
            assert!(tiles.iter().all(|tile| (tile.width(), tile.height()) == (side, side)));
            let (first, last) = (tiles[0].data(), tiles[count - 1].data());
            assert_eq!(first[..2], [0, 0]);
            let end = [(width - 1) as u8, (height - 1) as u8];
            assert_eq!(last[last.len() - 3..last.len() - 1], end);
        }
    }
}
