//! Captions: footage that was indexed is looked at once more, described, and the words kept with its
//! clips. What is made while footage comes in and what is made later differ only in which clips come
//! when.

mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Error, Result};
use footage_ask::{Answering, AskError, Fault};
use footage_clip::{Caption, ClipId, RgbFrame, SourceId, SourceKind, TimedFrame};
use footage_pipeline::{Cancel, DecodeSettings, KeptFootage, Reread, RereadError};

pub(crate) use self::live::{LiveCaptions, Tally};
use crate::compose::{House, Store};
use crate::footage;
use crate::instance::Instance;
use crate::requests::captions::{CaptionOf, KeepCaptionsRequest, MissingReply, MissingRequest};
use crate::requests::sources::{SourcesReply, States};
use crate::requests::stretch::{ClipTold, StretchReply};

/// What failures in a row add up to before nobody is asked any more: three that are who describes's
/// fault, or thirty of which nobody can tell.
const GIVES_UP_AT: usize = 30;

/// What a failure counts.
fn weight(fault: Fault) -> usize {
    match fault {
        Fault::Footage => 0,
        Fault::Unclear => 1,
        Fault::Answerer => 10,
        Fault::Key => GIVES_UP_AT,
    }
}

/// Whoever describes, and how footage is shown there.
#[derive(Clone, Debug)]
pub(crate) struct Captioner {
    answering: Answering,
    decode: DecodeSettings,
    most_frames: usize,
    /// What failures add up to since the last caption, of whatever source.
    failures: Arc<AtomicUsize>,
}

/// The index in which captions are kept: open here, or in another process.
#[derive(Debug)]
pub(crate) enum Door {
    Here(Arc<Store>),
    There(Instance),
}

/// What became of the clips of a source that were to get captions.
#[derive(Debug, Default)]
pub(crate) struct Described {
    pub made: usize,
    /// Clips that got none, each for a reason of its own.
    pub failed: usize,
    /// Clips whose turn did not come.
    pub left: usize,
    /// The first reason.
    pub why: Option<Error>,
    /// Whether nobody describes any more, so that no other source needs to be tried.
    pub is_away: bool,
}

impl Captioner {
    /// Whoever the settings name; none where they name nobody.
    pub(crate) fn open(house: &House) -> Result<Option<Self>> {
        let settings = &house.settings.caption;
        let answering = settings.by.open(settings.sampling.clone());
        let answering = answering.context("clips cannot be captioned")?;
        Ok(answering.map(|answering| Self {
            decode: footage::decoding(house, &answering),
            most_frames: footage::most_frames(house, &answering),
            failures: Arc::default(),
            answering,
        }))
    }

    /// Whether it works on this machine, and takes the processor from others.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.answering, Answering::Here(..))
    }

    async fn describe(&self, frames: &[TimedFrame<RgbFrame>]) -> Result<Caption, AskError> {
        self.answering.caption(frames).await
    }

    /// Describes the clips of `stretch` in order, and keeps each caption as soon as it is made, so that
    /// nothing is lost by an end. `on_clip` hears of each clip that is done with.
    pub(crate) async fn describe_all(
        &self,
        stretch: &StretchReply,
        door: &Door,
        cancel: &Cancel,
        on_clip: &mut (dyn FnMut() + Send),
    ) -> Described {
        let mut done = Described { left: stretch.clips.len(), ..Described::default() };
        let opened = tokio::task::block_in_place(|| self.reading(stretch, cancel));
        let mut reading = match opened {
            Ok(reading) => reading,
            Err(error) => {
                done.why = Some(error);
                return done;
            }
        };
        for clip in &stretch.clips {
            if cancel.is_cancelled() {
                break;
            }
            let failure = match self.describe_one(clip, stretch, &mut reading, cancel).await {
                Ok(caption) => {
                    self.failures.store(0, Ordering::Relaxed);
                    match door.keep(clip.clip_id, caption).await {
                        Ok(()) => done.made += 1,
                        Err(error) => {
                            done.why = Some(error);
                            done.is_away = true;
                            break;
                        }
                    }
                    None
                }
                Err(failure) => Some(failure),
            };
            if cancel.is_cancelled() && failure.is_some() {
                break;
            }
            done.left -= 1;
            on_clip();
            let Some(failure) = failure else { continue };
            done.failed += 1;
            let (error, fault) = failure;
            let weight = weight(fault);
            let failures = self.failures.fetch_add(weight, Ordering::Relaxed) + weight;
            tracing::info!(clip = %clip.clip_id, error = %error, "no caption");
            done.why.get_or_insert(error);
            if failures >= GIVES_UP_AT {
                done.is_away = true;
                break;
            }
        }
        done
    }

    /// A caption, or why there is none, and whose fault that is.
    async fn describe_one(
        &self,
        clip: &ClipTold,
        stretch: &StretchReply,
        reading: &mut Reading,
        cancel: &Cancel,
    ) -> Result<Caption, (Error, Fault)> {
        let read = || reading.frames(self, clip, stretch, cancel);
        let frames = tokio::task::block_in_place(read);
        let frames = frames.map_err(|error| (error.into(), Fault::Footage))?;
        tokio::select! {
            described = self.describe(&frames) => described.map_err(|error| {
                let fault = error.fault();
                (error.into(), fault)
            }),
            () = cancel.cancelled() => Err((Error::msg("it was interrupted"), Fault::Footage)),
        }
    }

    fn reading(&self, stretch: &StretchReply, cancel: &Cancel) -> Result<Reading> {
        let kept = footage::kept(stretch)?;
        Ok(match stretch.kind {
            SourceKind::File => {
                let reread = kept.reread(stretch.span(), stretch.rate, &self.decode, cancel);
                let reread =
                    reread.with_context(|| format!("cannot look at `{}` again", stretch.source))?;
                Reading::File(Box::new(reread))
            }
            SourceKind::Camera => Reading::Camera(kept),
        })
    }

    fn slots(&self, clip: &ClipTold, stretch: &StretchReply) -> Vec<u64> {
        let slots = clip.slots(stretch.rate, clip.from_ns, clip.to_ns).collect();
        footage::spread(slots, self.most_frames)
    }
}

/// Footage of one source: a file is read once, from its begin on; of a camera, what a clip lies in.
#[derive(Debug)]
enum Reading {
    File(Box<Reread>),
    Camera(KeptFootage),
}

impl Reading {
    fn frames(
        &mut self,
        captioner: &Captioner,
        clip: &ClipTold,
        stretch: &StretchReply,
        cancel: &Cancel,
    ) -> Result<Vec<TimedFrame<RgbFrame>>, RereadError> {
        let wanted = captioner.slots(clip, stretch);
        match self {
            Self::File(reread) => reread.frames(clip.span(), &wanted),
            Self::Camera(kept) => {
                kept.frames(clip.span(), stretch.rate, &wanted, &captioner.decode, cancel)
            }
        }
    }
}

impl Door {
    /// Of the process that has the data directory open, or of this one.
    pub(crate) async fn open(house: &House) -> Result<Self> {
        Ok(match Instance::running(&house.settings.data_dir).await? {
            Some(instance) => Self::There(instance),
            None => Self::Here(Arc::new(house.open_existing_store().await?)),
        })
    }

    /// All sources.
    pub(crate) async fn sources(&self) -> Result<Vec<SourceId>> {
        let told = match self {
            Self::Here(store) => SourcesReply::of(store, &States::new()).await?,
            Self::There(instance) => instance.sources().await?,
        };
        Ok(told.sources.into_iter().map(|source| source.source_id).collect())
    }

    /// What has no captions.
    pub(crate) async fn missing(
        &self,
        request: MissingRequest,
        house: &House,
    ) -> Result<MissingReply> {
        match self {
            Self::Here(store) => request.answer(house, store).await,
            Self::There(instance) => instance.missing_captions(&request).await,
        }
    }

    /// Keeps a caption for good. A clip that was removed meanwhile needs none.
    async fn keep(&self, clip_id: ClipId, caption: Caption) -> Result<()> {
        let request = KeepCaptionsRequest { captions: vec![CaptionOf { clip_id, caption }] };
        match self {
            Self::Here(store) => request.answer(store).await?,
            Self::There(instance) => instance.keep_captions(&request).await?,
        };
        Ok(())
    }
}
