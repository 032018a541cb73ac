//! The decoder's thread: a file's timeline, with what is known already left out.

use std::path::PathBuf;

use footage_clip::{RgbFrame, Span, TimedFrame, WindowSpec};
use tokio::sync::mpsc;

use crate::earlier_work::Known;
use crate::{Cancel, DecodeError, DecodeSettings, Decoder, MediaFacts, Piece, thumbnail};

/// Pieces read ahead of the embedding stage, beside the few in the decoder.
pub(super) const READ_AHEAD: usize = 2;

/// What was read next, and what the file tells of itself by now.
pub(super) struct Read {
    pub(super) facts: MediaFacts,
    pub(super) piece: ReadPiece,
}

pub(super) enum ReadPiece {
    /// An earlier run has published it.
    Known(Span),
    /// To be embedded.
    New(NewClip),
    /// It cannot be decoded.
    Lost(Span),
}

pub(super) struct NewClip {
    pub(super) span: Span,
    pub(super) frames: Vec<TimedFrame<RgbFrame>>,
    pub(super) thumbnail: Option<Vec<u8>>,
    /// Count of the clip in its file, known ones included.
    pub(super) seq: u64,
}

/// What to read.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    pub(super) window: WindowSpec,
    pub(super) settings: DecodeSettings,
    pub(super) known: Known,
    pub(super) cancel: Cancel,
}

impl Reading {
    /// Reads to the end, to the first failure, or until nobody listens any more.
    pub(super) fn run(self, out: &mpsc::Sender<Read>) -> (MediaFacts, Result<(), DecodeError>) {
        let opened = Decoder::open(&self.path, &self.window, &self.settings, &self.cancel);
        let mut decoder = match opened {
            Ok(decoder) => decoder,
            Err(error) => return (MediaFacts::default(), Err(error)),
        };
        let mut seq = 0;
        loop {
            let piece = match decoder.next_piece() {
                Ok(Some(piece)) => self.sorted(piece, &mut seq),
                Ok(None) => return (decoder.facts(), Ok(())),
                Err(error) => return (decoder.facts(), Err(error)),
            };
            // Waits while the embedding stage is busy.
            if out.blocking_send(Read { facts: decoder.facts(), piece }).is_err() {
                return (decoder.facts(), Ok(()));
            }
        }
    }

    fn sorted(&self, piece: Piece, seq: &mut u64) -> ReadPiece {
        let clip = match piece {
            Piece::Lost(span) => return ReadPiece::Lost(span),
            Piece::Clip(clip) => clip,
        };
        let at = *seq;
        *seq += 1;
        if self.known.has(clip.span.start_ns) {
            return ReadPiece::Known(clip.span);
        }
        // Of the frames that were seen: padding shows the last one again.
        let middle = (clip.frames.len() - clip.padded) / 2;
        let thumbnail = clip.frames.get(middle).and_then(|frame| {
            let made = thumbnail::jpeg(&frame.frame);
            made.inspect_err(|error| tracing::warn!(%error, "no thumbnail")).ok()
        });
        ReadPiece::New(NewClip { span: clip.span, frames: clip.frames, thumbnail, seq: at })
    }
}
