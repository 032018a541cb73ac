//! What the frozen tower makes of the clips: computed once, kept in files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use footage_clip::RgbFrame;
use footage_model::train::pretrain::{Features, Pretraining};
use footage_pipeline::{FileSource, identify};
use half::f16;

use crate::datasets::{Row, Videos};
use crate::stretches::{Stretches, Wanted};
use crate::terminal::tell;

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
    pub reading: Stretches<'a>,
    /// Where features are kept.
    pub cache: PathBuf,
}

impl Gathering<'_> {
    /// Makes clips of rows. Returns them in the rows' order, and how many rows gave none; each of
    /// those has a line that says why.
    pub(super) fn gather(&self, rows: Vec<Row>, videos: &Videos) -> Result<(Clips, u64)> {
        fs_err::create_dir_all(&self.cache)?;
        let (mut clips, mut failed) = (Vec::new(), 0);
        let mut files: BTreeMap<PathBuf, Vec<Row>> = BTreeMap::new();
        for row in rows {
            if row.caption.is_empty() {
                failed += 1;
                tell(&format!("left out: line {}: its caption is empty", row.line));
                continue;
            }
            if !self.training.fits(&row.caption)? {
                tell(&format!(
                    "line {}: the caption is longer than the model reads; its end is cut off",
                    row.line
                ));
            }
            match videos.find(&row.video) {
                Ok(path) => files.entry(path).or_default().push(row),
                Err(error) => {
                    failed += 1;
                    tell(&format!("left out: line {}: {error}", row.line));
                }
            }
        }
        let count = files.len();
        for (number, (path, rows)) in files.into_iter().enumerate() {
            if self.reading.cancel.is_cancelled() {
                break;
            }
            let lines = rows.len() as u64;
            let mut whole = Vec::new();
            if let Err(error) = self.file(&path, rows, &mut whole) {
                let left_out = lines - whole.len() as u64;
                failed += left_out;
                let shown = path.display();
                tell(&format!("left out: {shown} ({left_out} of {lines} captions): {error:#}"));
            }
            clips.extend(whole);
            if (number + 1).is_multiple_of(50) {
                tell(&format!("{} of {count} files looked at", number + 1));
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
        let reading = &self.reading;
        let content = identify(&source, reading.cancel, |_| ())?.content_hash;
        let len = 2 * reading.window.length() * self.training.frame_len();
        let mut wanted = Vec::new();
        for row in rows {
            let mut key = blake3::Hasher::new();
            key.update(self.training.frozen_hash().as_bytes()).update(content.as_bytes());
            let Row { from_ns, to_ns, .. } = row;
            let how = format!("{:?} {:?} {from_ns} {to_ns}", reading.window, reading.decode);
            let file = self.cache.join(key.update(how.as_bytes()).finalize().to_hex().as_str());
            if fs_err::metadata(&file).is_ok_and(|there| there.len() == len as u64) {
                whole.push((row, file));
            } else {
                wanted.push(Wanted { what: (row, file), from_ns, to_ns });
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let unseen = reading.read(path, wanted, |(row, file), frames| {
            self.keep(frames, &file)?;
            whole.push((row, file));
            Ok(())
        })?;
        ensure!(
            unseen.is_empty(),
            "nothing can be seen of it in the time of line {}",
            unseen.iter().map(|(row, _)| row.line.to_string()).collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }

    /// Computes the features of frames and keeps them in a file.
    fn keep(&self, frames: &[RgbFrame], file: &Path) -> Result<()> {
        let features = self.training.features(frames)?;
        let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
        let partial = file.with_extension("partial");
        fs_err::write(&partial, bytes)?;
        Ok(fs_err::rename(&partial, file)?)
    }
}
