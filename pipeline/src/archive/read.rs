//! The decoder's thread: a file's timeline, with what is known already left out.

use std::collections::VecDeque;
use std::path::PathBuf;

use footage_clip::{RgbFrame, Span, TimedFrame, WindowSpec};
use tokio::sync::mpsc;

use crate::earlier_work::Known;
use crate::{Cancel, DecodeError, DecodeSettings, Decoder, MediaFacts, Piece, thumbnail};

/// Pieces read ahead of the embedding stage, beside the few in the decoder.
pub(super) const READ_AHEAD: usize = 2;

/// A file that breaks off ends in a padded clip and a lost stretch, at most.
const TAIL: usize = 2;

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
        let mut tail = VecDeque::new();
        loop {
            let next = decoder.next_piece();
            let facts = decoder.facts();
            let ended = match next {
                Ok(Some(piece)) => {
                    let may_be_the_break = may_be_the_break(&piece);
                    tail.push_back(self.sorted(piece, &mut seq));
                    let held = if may_be_the_break { TAIL } else { 0 };
                    if send(&mut tail, held, facts, out) {
                        continue;
                    }
                    Ok(())
                }
                Ok(None) => Ok(()),
                // Another attempt may read on from here: then these pieces are none.
                Err(error) if !error.is_final() => {
                    tail.clear();
                    Err(error)
                }
                Err(error) => Err(error),
            };
            send(&mut tail, 0, facts, out);
            return (facts, ended);
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

/// Whether a piece looks like what is left where a file breaks off.
fn may_be_the_break(piece: &Piece) -> bool {
    match piece {
        Piece::Lost(_) => true,
        Piece::Clip(clip) => clip.padded > 0,
    }
}

/// Sends all but `held` pieces, waiting while the embedding stage is busy. Returns whether somebody
/// still listens.
fn send(
    pieces: &mut VecDeque<ReadPiece>,
    held: usize,
    facts: MediaFacts,
    out: &mpsc::Sender<Read>,
) -> bool {
    let ready = pieces.len().saturating_sub(held);
    pieces.drain(..ready).all(|piece| out.blocking_send(Read { facts, piece }).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Span = Span { start_ns: 0, end_ns: 1, utc: None };

    #[test]
    fn what_may_be_the_break_is_held_back_until_more_comes_or_the_file_ends() {
        let (out, mut sent) = mpsc::channel(8);
        let facts = MediaFacts::default();
        let mut tail: VecDeque<_> = (0..3).map(|_| ReadPiece::Lost(PIECE)).collect();
        assert!(send(&mut tail, TAIL, facts, &out));
        assert_eq!((sent.len(), tail.len()), (1, 2));
        assert!(send(&mut tail, 0, facts, &out));
        assert_eq!((sent.len(), tail.len()), (3, 0));
        sent.close();
        tail.push_back(ReadPiece::Lost(PIECE));
        assert!(!send(&mut tail, 0, facts, &out), "nobody listens any more");
    }
}
