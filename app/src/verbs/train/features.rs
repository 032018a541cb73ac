//! What the frozen tower makes of the clips: computed once, kept in files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use footage_clip::{RgbFrame, WindowSpec};
use footage_model::train::pretrain::{Features, Pretraining};
use footage_pipeline::{Cancel, DecodeSettings, Decoder, FileSource, Piece, identify};
use half::f16;

use super::data::Row;
use super::say;
use crate::terminal::escaped;

/// Frames of a stretch that are kept until it ends. Of a longer one, every second is let go, as
/// often as need be: what is kept stays evenly spread.
const MOST_FRAMES: usize = 512;

/// A clip that can be learned from.
#[derive(Debug)]
pub(super) struct Clip {
    pub row: Row,
    file: PathBuf,
    text: Vec<f32>,
}

impl Clip {
    /// What its features follow from, as a name.
    pub(super) fn key(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The clips that can be learned from.
#[derive(Debug)]
pub(super) struct Clips(pub Vec<Clip>);

impl Features for Clips {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn clip(&self, index: usize) -> std::io::Result<Vec<f16>> {
        let bytes = fs_err::read(&self.0[index].file)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect())
    }

    fn text(&self, index: usize) -> &[f32] {
        &self.0[index].text
    }
}

/// How clips are made of files.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    pub training: &'a Pretraining,
    pub window: WindowSpec,
    pub decode: DecodeSettings,
    /// Where features are kept.
    pub cache: PathBuf,
    pub cancel: &'a Cancel,
}

/// A stretch of a file that is being read.
struct Stretch {
    row: Row,
    file: PathBuf,
    frames: Vec<RgbFrame>,
    /// Every how many frames one is kept.
    every: usize,
    seen: usize,
}

impl Stretch {
    fn push(&mut self, frame: &RgbFrame) {
        if self.seen.is_multiple_of(self.every) {
            self.frames.push(frame.clone());
            if self.frames.len() == MOST_FRAMES {
                let mut count = 0_usize;
                self.frames.retain(|_| {
                    count += 1;
                    count % 2 == 1
                });
                self.every *= 2;
            }
        }
        self.seen += 1;
    }
}

/// Which of `count` frames stand for a stretch: the middles of `wanted` equal parts, as the
/// reference samples when it does not sample at random; the same ones twice where there are too few.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let part = count.saturating_sub(1) as f64 / wanted as f64;
    let last = count.saturating_sub(1);
    let at = |i: usize| (part * i as f64).round_ties_even() as usize + (part / 2.0) as usize;
    (0..wanted).map(|i| at(i).min(last)).collect()
}

impl Gathering<'_> {
    /// Makes clips of rows. Returns them in the rows' order, and how many rows gave none; each of
    /// those has a line that says why.
    pub(super) fn gather(&self, rows: Vec<Row>) -> Result<(Clips, u64)> {
        fs_err::create_dir_all(&self.cache)?;
        let (mut clips, mut failed) = (Vec::new(), 0);
        let mut files: BTreeMap<PathBuf, Vec<Row>> = BTreeMap::new();
        for row in rows {
            if row.caption.is_empty() {
                failed += 1;
                say(&format!("left out: line {}: its caption is empty", row.line));
                continue;
            }
            if !self.training.fits(&row.caption)? {
                say(&format!(
                    "line {}: the caption is longer than the model reads; its end is cut off",
                    row.line
                ));
            }
            files.entry(row.path.clone()).or_default().push(row);
        }
        let count = files.len();
        for (number, (path, rows)) in files.into_iter().enumerate() {
            if self.cancel.is_cancelled() {
                break;
            }
            let lines = rows.len() as u64;
            let mut whole = Vec::new();
            if let Err(error) = self.file(&path, rows, &mut whole) {
                let left_out = lines - whole.len() as u64;
                failed += left_out;
                let shown = escaped(&path.display().to_string());
                say(&format!("left out: {shown} ({left_out} of {lines} captions): {error:#}"));
            }
            clips.extend(whole);
            if (number + 1).is_multiple_of(50) {
                say(&format!("{} of {count} files looked at", number + 1));
            }
        }
        clips.sort_by_key(|(row, _)| row.line);
        let mut with_text = Vec::with_capacity(clips.len());
        for (row, file) in clips {
            let text = self.training.texts(&[&row.caption])?.pop();
            let text = text.context("the model gave no embedding of a caption")?;
            with_text.push(Clip { row, file, text });
        }
        Ok((Clips(with_text), failed))
    }

    /// One file's clips into `whole`, and an error where some could not be had.
    fn file(&self, path: &Path, rows: Vec<Row>, whole: &mut Vec<(Row, PathBuf)>) -> Result<()> {
        let source = FileSource::try_new(path)?;
        let content = identify(&source, self.cancel, |_| ())?.content_hash;
        let len = 2 * self.window.length() * self.training.frame_len();
        let mut open = Vec::new();
        for row in rows {
            let mut key = blake3::Hasher::new();
            key.update(self.training.frozen_hash().as_bytes()).update(content.as_bytes());
            let how = format!("{:?} {:?} {} {}", self.window, self.decode, row.from_ns, row.to_ns);
            let file = self.cache.join(key.update(how.as_bytes()).finalize().to_hex().as_str());
            if fs_err::metadata(&file).is_ok_and(|there| there.len() == len as u64) {
                whole.push((row, file));
            } else {
                open.push(Stretch { row, file, frames: Vec::new(), every: 1, seen: 0 });
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        // One frame after the other, at the pace at which the model looks.
        let frame_by_frame = WindowSpec::try_new(1, 1, self.window.rate())?;
        let mut decoder = Decoder::open(path, &frame_by_frame, &self.decode, self.cancel)?;
        let mut unseen = Vec::new();
        while let Some(piece) = decoder.next_piece()? {
            let Piece::Clip(cut) = piece else { continue };
            let (from_ns, to_ns) = (cut.span.start_ns, cut.span.end_ns);
            let (ended, still): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|stretch| stretch.row.to_ns <= from_ns);
            open = still;
            self.finish(ended, whole, &mut unseen)?;
            for stretch in open.iter_mut().filter(|stretch| stretch.row.from_ns < to_ns) {
                cut.frames.iter().for_each(|frame| stretch.push(&frame.frame));
            }
            if open.is_empty() {
                break;
            }
        }
        ensure!(!self.cancel.is_cancelled(), "the run was stopped");
        self.finish(open, whole, &mut unseen)?;
        ensure!(
            unseen.is_empty(),
            "nothing can be seen of it in the time of line {}",
            unseen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }

    /// Computes and keeps the features of stretches that were read; the lines of those in which
    /// there was no frame go to `unseen`.
    fn finish(
        &self,
        ended: Vec<Stretch>,
        whole: &mut Vec<(Row, PathBuf)>,
        unseen: &mut Vec<u64>,
    ) -> Result<()> {
        for stretch in ended {
            if stretch.frames.is_empty() {
                unseen.push(stretch.row.line);
                continue;
            }
            let at = spread(stretch.frames.len(), self.window.length());
            let frames: Vec<RgbFrame> = at.iter().map(|at| stretch.frames[*at].clone()).collect();
            let features = self.training.features(&frames)?;
            let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
            let partial = stretch.file.with_extension("partial");
            fs_err::write(&partial, bytes)?;
            fs_err::rename(&partial, &stretch.file)?;
            whole.push((stretch.row, stretch.file));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_over_a_stretch_and_shown_twice_where_there_are_too_few() {
        assert_eq!(spread(9, 4), [1, 3, 5, 7]);
        assert_eq!(spread(2, 4), [0, 0, 0, 1]);
        assert_eq!(spread(1, 3), [0, 0, 0]);
        for (count, wanted) in [(3, 8), (8, 8), (500, 8), (17, 5)] {
            let at = spread(count, wanted);
            assert!(at.is_sorted() && at.iter().all(|at| *at < count), "{count}: {at:?}");
        }
    }
}
