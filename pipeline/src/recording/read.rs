//! Footage read again, across the fragments in which it lies.

use std::collections::VecDeque;
use std::io;

use footage_clip::{Rate, RgbFrame, Span, TimedFrame, WindowSpec};

use super::{Fragment, Fragments};
use crate::{Cancel, DecodeError, DecodeSettings, Decoder, Piece};

/// Reads the frames of a stretch of a camera's media time: the first of each slot of `rate`, where one
/// was recorded. With a clip's rate and span, these are the clip's frames.
///
/// A fragment that cannot be read, or is torn at its end, costs what it holds and no more. Nothing
/// before the last keyframe at the stretch's begin is decoded.
pub struct SpanReader {
    fragments: VecDeque<Fragment>,
    span: Span,
    window: WindowSpec,
    settings: DecodeSettings,
    cancel: Cancel,
    decoder: Option<Decoder>,
    last_slot: Option<u64>,
    /// Why the first fragment that failed did.
    failure: Option<DecodeError>,
}

impl std::fmt::Debug for SpanReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanReader")
            .field("span", &self.span)
            .field("fragments", &self.fragments)
            .finish_non_exhaustive()
    }
}

impl SpanReader {
    /// Begins to read `span`; `cancel` ends it early. Fails where the folder cannot be read.
    pub fn open(
        fragments: &Fragments,
        span: Span,
        rate: Rate,
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> io::Result<Self> {
        let window = WindowSpec::try_new(1, 1, rate).map_err(io::Error::other)?;
        Ok(Self {
            fragments: fragments.within(span)?.into(),
            span,
            window,
            settings: settings.clone(),
            cancel: cancel.clone(),
            decoder: None,
            last_slot: None,
            failure: None,
        })
    }

    /// The next frame, in order of time; `None` after the last. Waits for it.
    ///
    /// Where nothing at all could be read of footage that is there, the reason comes first.
    pub fn next_frame(&mut self) -> Result<Option<TimedFrame<RgbFrame>>, DecodeError> {
        while !self.cancel.is_cancelled() {
            let Some(piece) = self.next_piece() else { break };
            let Piece::Clip(clip) = piece else { continue };
            let Some(frame) = clip.frames.into_iter().next() else { continue };
            let start_ns = self.window.rate().slot_start_ns(frame.slot);
            if start_ns >= self.span.end_ns {
                self.decoder = None;
                self.fragments.clear();
                break;
            }
            if self.is_wanted(frame.slot) {
                self.last_slot = Some(frame.slot);
                return Ok(Some(frame));
            }
        }
        match self.failure.take().filter(|_| self.last_slot.is_none()) {
            Some(failure) => Err(failure),
            None => Ok(None),
        }
    }

    /// Two fragments may have a frame for the slot in which one ends and the other begins.
    fn is_wanted(&self, slot: u64) -> bool {
        slot >= self.window.rate().slot_of(self.span.start_ns)
            && self.last_slot.is_none_or(|last| slot > last)
    }

    /// The next piece of whatever fragment has one.
    fn next_piece(&mut self) -> Option<Piece> {
        loop {
            let read = match &mut self.decoder {
                Some(decoder) => decoder.next_piece(),
                None => match self.open_next()? {
                    Ok(decoder) => {
                        self.decoder = Some(decoder);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(Some(piece)) => return Some(piece),
                Ok(None) => self.decoder = None,
                Err(error) => {
                    tracing::debug!(%error, "a fragment ends here");
                    self.decoder = None;
                    if !holds_nothing(&error) {
                        self.failure.get_or_insert(error);
                    }
                }
            }
        }
    }

    fn open_next(&mut self) -> Option<Result<Decoder, DecodeError>> {
        let fragment = self.fragments.pop_front()?;
        let first_slot = self.window.rate().slot_of(self.span.start_ns);
        let from_ns = self.window.rate().slot_start_ns(first_slot);
        Some(Decoder::open_fragment(&fragment, from_ns, &self.window, &self.settings, &self.cancel))
    }
}

/// The fragment ended before the stretch began, or before its first picture.
fn holds_nothing(error: &DecodeError) -> bool {
    use DecodeError::{CutOff, Empty, HeaderOnly, NoPicture};
    matches!(error, CutOff | Empty | HeaderOnly | NoPicture)
}
