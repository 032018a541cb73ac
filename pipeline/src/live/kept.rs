//! What accompanies a connection's compressed pictures: their recording, and how few are decoded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use footage_clip::{MediaRef, SourceId, Span};
use gst::prelude::*;

use super::shared::Shared;
use super::{Camera, LiveDecode};
use crate::{
    ElasticDecode, ElasticUse, Recorder, RecordingError, RecordingSpec, RecordingUse, lock,
};

/// A recording's last fragment is closed within this time, or without us.
const CLOSING: Duration = Duration::from_secs(5);

/// Belongs to a graph, and to nothing that the graph's pads hold.
pub(super) struct Kept {
    source_id: SourceId,
    recording: Option<RecordingSpec>,
    recorder: Mutex<Option<Recorder>>,
    /// Why there is no recorder.
    refused: Mutex<Option<RecordingError>>,
    elastic: Option<Arc<ElasticDecode>>,
}

impl Kept {
    pub(super) fn new(camera: &Camera) -> Self {
        let elastic = match camera.decode {
            LiveDecode::Elastic(settings) => Some(ElasticDecode::new(settings)),
            LiveDecode::All | LiveDecode::Keyframes => None,
        };
        Self {
            source_id: camera.source_id.clone(),
            recording: camera.recording.clone(),
            recorder: Mutex::default(),
            refused: Mutex::default(),
            elastic,
        }
    }

    /// Records what passes `coded`, if anything is to be recorded.
    pub(super) fn record(&self, coded: &gst::Pad, shared: &Arc<Shared>) {
        let Some(spec) = self.recording.clone() else { return };
        // Weak: the pad holds whoever asks.
        let shared = Arc::downgrade(shared);
        let axis = move |at: gst::ClockTime| {
            let shared = shared.upgrade()?;
            let clock = lock(&shared.clock);
            clock.foresee(at.nseconds())
        };
        match Recorder::attach(coded, spec, Arc::new(axis)) {
            Ok(recorder) => drop(lock(&self.recorder).replace(recorder)),
            Err(error) => {
                tracing::warn!(source_id = %self.source_id, %error, "not recorded");
                lock(&self.refused).replace(error);
            }
        }
    }

    /// Stands around the decoder with this sink pad, if it is to rest with the scene.
    pub(super) fn decode_elastically(&self, sink: &gst::Pad) {
        let Some(elastic) = &self.elastic else { return };
        let src = sink.parent_element().and_then(|decoder| decoder.static_pad("src"));
        if let Some(src) = src {
            elastic.guard(sink);
            elastic.watch(&src);
        }
    }

    /// Where the footage of a clip is kept.
    pub(super) fn media_of(&self, span: &Span) -> Option<MediaRef> {
        lock(&self.recorder).as_ref()?.media_of(span)
    }

    /// What was recorded, and why nothing is any more; none where nothing is to be recorded.
    pub(super) fn recorded(&self) -> Option<(RecordingUse, Option<RecordingError>)> {
        self.recording.as_ref()?;
        let refused = lock(&self.refused).clone();
        let recorder = lock(&self.recorder);
        let (used, failure) = recorder
            .as_ref()
            .map_or_else(Default::default, |recorder| (recorder.used(), recorder.failure()));
        Some((used, failure.or(refused)))
    }

    /// What of the stream was decoded; none where everything is.
    pub(super) fn decoded(&self) -> Option<ElasticUse> {
        Some(self.elastic.as_ref()?.used())
    }

    /// Closes what is recorded.
    pub(super) fn finish(&self) {
        let recorder = lock(&self.recorder).take();
        if recorder.is_some_and(|recorder| !recorder.finish(CLOSING)) {
            tracing::warn!(source_id = %self.source_id, "the last fragment is not closed yet");
        }
    }
}
