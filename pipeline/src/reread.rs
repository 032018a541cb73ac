//! Frames of footage that was indexed, decoded again for who wants to look at them.

use std::fmt;
use std::io;
use std::path::PathBuf;

use footage_clip::{Rate, RgbFrame, Span, TimedFrame, WindowSpec};

use crate::{Cancel, DecodeError, DecodeSettings, Decoder, Fragments, Piece, SpanReader};

/// Where footage lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptFootage {
    /// A file that is a source of its own.
    File(PathBuf),
    /// The folder of a camera's fragments.
    Recording(PathBuf),
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum RereadError {
    /// The folder of fragments cannot be read.
    #[error("the recorded footage cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The footage cannot be decoded.
    #[error("the footage cannot be decoded again: {0}")]
    Decode(#[from] DecodeError),
    /// There is no picture there any more.
    #[error("no picture is left of this stretch: its footage was removed, or never recorded")]
    Nothing,
}

impl KeptFootage {
    /// Begins to read stretch after stretch, all within `span`.
    ///
    /// A file is read from its begin: what lies before the span costs its decoding.
    pub fn reread(
        &self,
        span: Span,
        rate: Rate,
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> Result<Reread, RereadError> {
        let reader = match self {
            Self::Recording(dir) => {
                let fragments = Fragments::open(dir);
                let reader = SpanReader::open(&fragments, span, rate, settings, cancel)?;
                Reader::Recording(Box::new(reader))
            }
            Self::File(path) => {
                let window = WindowSpec::try_new(1, 1, rate).map_err(io::Error::other)?;
                Reader::File(Box::new(Decoder::open(path, &window, settings, cancel)?))
            }
        };
        Ok(Reread { reader, rate, ahead: None })
    }

    /// The frames of one stretch; see [`Reread::frames`].
    pub fn frames(
        &self,
        span: Span,
        rate: Rate,
        wanted: &[u64],
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> Result<Vec<TimedFrame<RgbFrame>>, RereadError> {
        self.reread(span, rate, settings, cancel)?.frames(span, wanted)
    }
}

/// Footage that is being read again, once, from its begin on.
pub struct Reread {
    reader: Reader,
    rate: Rate,
    /// The first frame after the last stretch.
    ahead: Option<TimedFrame<RgbFrame>>,
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Reread {
    /// The frames of `span` in the slots `wanted`, which ascend. In place of a slot without a picture
    /// stands the next one that has one, once. A later call is for a later span, which does not
    /// overlap this one.
    pub fn frames(
        &mut self,
        span: Span,
        wanted: &[u64],
    ) -> Result<Vec<TimedFrame<RgbFrame>>, RereadError> {
        let mut wanted = wanted.iter().copied().peekable();
        let mut frames = Vec::new();
        while wanted.peek().is_some() {
            let next = match self.ahead.take() {
                Some(frame) => Ok(Some(frame)),
                None => self.reader.next_frame(),
            };
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // What came before it is footage all the same.
                Err(error) if !frames.is_empty() => {
                    tracing::debug!(%error, "the footage breaks off");
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if self.rate.slot_start_ns(frame.slot) >= span.end_ns {
                self.ahead = Some(frame);
                break;
            }
            let mut is_wanted = false;
            while wanted.next_if(|slot| *slot <= frame.slot).is_some() {
                is_wanted = true;
            }
            if is_wanted {
                frames.push(frame);
            }
        }
        if frames.is_empty() { Err(RereadError::Nothing) } else { Ok(frames) }
    }
}

enum Reader {
    File(Box<Decoder>),
    Recording(Box<SpanReader>),
}

impl Reader {
    fn next_frame(&mut self) -> Result<Option<TimedFrame<RgbFrame>>, DecodeError> {
        let decoder = match self {
            Self::Recording(reader) => return reader.next_frame(),
            Self::File(decoder) => decoder,
        };
        while let Some(piece) = decoder.next_piece()? {
            let Piece::Clip(clip) = piece else { continue };
            if let Some(frame) = clip.frames.into_iter().next() {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}
