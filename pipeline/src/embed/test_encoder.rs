//! A model small enough to follow: a frame's features are its mean colour and its first pixels, and a
//! clip's embedding depends on every frame and on their order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use footage_clip::{Embedding, RgbFrame};

use super::ClipEncoder;

/// Counts how often it looked at each picture.
#[derive(Clone, Default)]
pub(crate) struct TestEncoder {
    pub(crate) looks: Arc<Mutex<BTreeMap<[u8; 32], usize>>>,
    pub(crate) calls: Arc<Mutex<Vec<usize>>>,
}

/// A picture of this colour cannot be looked at.
pub(crate) const POISON: [u8; 3] = [66, 6, 6];

impl ClipEncoder for TestEncoder {
    type Features = [f32; 4];
    type Error = String;

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<[f32; 4]>, String> {
        if frames.iter().any(|frame| frame.data().starts_with(&POISON)) {
            return Err("poison".into());
        }
        self.calls.lock().unwrap().push(frames.len());
        for frame in frames {
            let hash = *blake3::hash(frame.data()).as_bytes();
            *self.looks.lock().unwrap().entry(hash).or_default() += 1;
        }
        let features = |frame: &RgbFrame| {
            let mut sums = [1.0, 0.0, 0.0, 0.0];
            for pixel in frame.data().chunks(3) {
                sums[1] += f32::from(pixel[0]);
                sums[2] += f32::from(pixel[1]);
                sums[3] += f32::from(pixel[2]);
            }
            let pixels = (frame.data().len() / 3) as f32;
            sums.map(|sum| sum / pixels)
        };
        Ok(frames.iter().map(features).collect())
    }

    fn embed_clips(&self, clips: &[Vec<[f32; 4]>]) -> Result<Vec<Embedding>, String> {
        let embed = |clip: &Vec<[f32; 4]>| {
            let weighted = clip
                .iter()
                .enumerate()
                .flat_map(|(at, features)| features.map(|value| value * (1.0 + at as f32)));
            Embedding::normalise(weighted.collect()).map_err(|error| error.to_string())
        };
        clips.iter().map(embed).collect()
    }
}
