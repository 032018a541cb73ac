//! The frames of a stretch, once it is certain that they are those that were indexed.

use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use footage_ask::Answering;
use footage_clip::{FileStamp, RgbFrame, SourceId, SourceKind, TimedFrame};
use footage_model::conversation::chosen_frames;
use footage_pipeline::{
    Cancel, DecodeSettings, FileSource, KeptFootage, PictureSize, identify, stamp,
};

use crate::compose::House;
use crate::requests::stretch::StretchReply;
use crate::terminal::clock;

/// Footage that was looked at.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) stretch: StretchReply,
    pub(crate) frames: Vec<TimedFrame<RgbFrame>>,
}

/// How footage is decoded for who answers.
pub(crate) fn decoding(house: &House, answering: &Answering) -> DecodeSettings {
    let side = |pixels: u32| NonZeroU32::new(pixels).unwrap_or(NonZeroU32::MIN);
    let (short_side, long_side) = match answering {
        Answering::Endpoint(_) => (1, house.settings.ask.picture_pixels),
        Answering::Here(answerer, _) => (answerer.image_size(), 1),
    };
    house
        .settings
        .decode
        .sized(PictureSize::Covering { short_side: side(short_side), long_side: side(long_side) })
}

/// How many frames are shown.
pub(crate) fn most_frames(house: &House, answering: &Answering) -> usize {
    match answering {
        Answering::Endpoint(_) => house.settings.ask.frames,
        Answering::Here(answerer, _) => answerer.most_frames(),
    }
}

impl Seen {
    /// Decodes at most `most` frames, spread over the stretch.
    pub(crate) fn read(
        stretch: StretchReply,
        most: usize,
        decode: &DecodeSettings,
    ) -> Result<Self> {
        let wanted = spread(stretch.slots(), most);
        let kept = kept(&stretch)?;
        let (span, rate) = (stretch.span(), stretch.rate);
        let frames = kept
            .frames(span, rate, &wanted, decode, &Cancel::default())
            .with_context(|| format!("cannot look at `{}` again", stretch.source))?;
        Ok(Self { stretch, frames })
    }

    /// What was looked at, for people.
    pub(crate) fn described(&self) -> String {
        let StretchReply { source, from_ns, to_ns, kind, .. } = &self.stretch;
        let frames = match self.frames.len() {
            1 => "1 frame".to_owned(),
            count => format!("{count} frames"),
        };
        match kind {
            SourceKind::File => {
                let time = |ns: u64| clock(ns / 1_000_000_000);
                format!("{frames} of {source}, {} to {}", time(*from_ns), time(*to_ns))
            }
            SourceKind::Camera => {
                let seconds = (to_ns - from_ns) as f64 / 1e9;
                format!("{frames} of {source}, {seconds:.1} s")
            }
        }
    }
}

/// At most `most` of these slots, spread over them.
pub(crate) fn spread(slots: Vec<u64>, most: usize) -> Vec<u64> {
    if slots.len() <= most {
        return slots;
    }
    chosen_frames(slots.len(), most).into_iter().map(|at| slots[at]).collect()
}

/// The footage of a stretch, which is certain to be what was indexed.
pub(crate) fn kept(stretch: &StretchReply) -> Result<KeptFootage> {
    let StretchReply { source_id, source, kind, footage, stamp, .. } = stretch;
    kept_at(*kind, footage, *stamp, source_id, source)
}

/// The footage of a source at `footage`, which is certain to be what was indexed.
pub(crate) fn kept_at(
    kind: SourceKind,
    footage: &Path,
    stamped: Option<FileStamp>,
    source_id: &SourceId,
    name: &str,
) -> Result<KeptFootage> {
    Ok(match kind {
        SourceKind::File => {
            check(footage, stamped, source_id, name)?;
            KeptFootage::File(footage.to_owned())
        }
        SourceKind::Camera => KeptFootage::Recording(footage.to_owned()),
    })
}

/// A path may hold another film by now: one that was not written to since is the one that was indexed,
/// and any other one is read to see whether it is.
fn check(path: &Path, stamped: Option<FileStamp>, source_id: &SourceId, name: &str) -> Result<()> {
    let gone = || {
        format!(
            "the footage of `{name}` is not at {} any more: if it was moved, `footage index` its new \
             place; what was deleted cannot be looked at again",
            path.display()
        )
    };
    let file = FileSource::try_new(path).with_context(gone)?;
    let now: FileStamp = stamp(&file).with_context(gone)?;
    if stamped == Some(now) {
        return Ok(());
    }
    let identified = identify(&file, &Cancel::default(), |_| ())
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if identified.source_id != *source_id {
        bail!(
            "{} was changed since it was indexed, so its clips are of footage that is not there any \
             more: `footage index` it again, for the new clips",
            path.display()
        );
    }
    Ok(())
}
