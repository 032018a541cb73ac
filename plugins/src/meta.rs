//! What a clip's buffer carries.

use std::sync::Once;

use footage_clip::{Cut, Span};
use gst::glib;
use gst::meta::CustomMeta;

/// The frames of a clip, their times, and where the clip lies.
///
/// A clip's buffer is an envelope: it has no memory of its own, only this meta, which holds the
/// frames' buffers by reference. Overlapping clips refer to the same buffers; nothing is copied,
/// whatever a clip's length (a buffer's own memories are merged, by copying, beyond 16).
///
/// In `GStreamer`'s terms it is a custom meta, so any language reads it without our headers:
/// `gst_buffer_get_custom_meta(clip, "FootageClipMeta")`, then the structure's fields
///
/// | field | type | |
/// |---|---|---|
/// | `frames` | `GstBufferList` | the frames; one that is shown in several slots is there several times |
/// | `slots` | `GstValueArray` of `guint64` | each frame's slot of the sampling grid |
/// | `times` | `GstValueArray` of `guint64` | media time from which each frame is shown, ns |
/// | `start`, `end` | `guint64` | the clip's span in media time, ns; padding adds none |
/// | `padded` | `guint` | frames at the end that only repeat the last one |
/// | `begins-run` | `gboolean` | nothing before it belongs to the same uninterrupted run |
/// | `caps` | `GstCaps` | of every frame |
#[derive(Clone, Debug, PartialEq)]
pub struct FootageClipMeta {
    frames: Vec<ClipFrame>,
    span: Span,
    padded: usize,
    begins_run: bool,
    caps: gst::Caps,
}

/// A frame of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipFrame {
    /// Place on the sampling grid.
    pub slot: u64,
    /// Media time from which it is shown, in nanoseconds. The same in every slot and every clip that
    /// show this picture.
    pub time_ns: u64,
    /// The picture, shared: read it through `gst_video::VideoFrameRef`, which minds its strides.
    pub buffer: gst::Buffer,
}

impl FootageClipMeta {
    /// Its name in `GStreamer`.
    pub const NAME: &str = "FootageClipMeta";

    /// Makes the meta known to `GStreamer`, once.
    pub(crate) fn register() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // The shared library may have been loaded into a program that links us as well.
            if !CustomMeta::is_registered(Self::NAME) {
                CustomMeta::register(Self::NAME, &[]);
            }
        });
    }

    /// Of one cut.
    pub(crate) fn of_cut(cut: Cut<gst::Buffer>, begins_run: bool, caps: gst::Caps) -> Self {
        let frames = cut.frames.into_iter().map(|frame| ClipFrame {
            slot: frame.slot,
            time_ns: frame.time_ns,
            buffer: frame.frame,
        });
        Self { frames: frames.collect(), span: cut.span, padded: cut.padded, begins_run, caps }
    }

    /// Adds it to a buffer.
    pub(crate) fn attach(&self, clip: &mut gst::BufferRef) -> Result<(), glib::BoolError> {
        let array = |number: fn(&ClipFrame) -> u64| gst::Array::new(self.frames.iter().map(number));
        let frames: gst::BufferList = self.frames.iter().map(|f| f.buffer.clone()).collect();

        let mut meta = CustomMeta::add(clip, Self::NAME)?;
        let fields = meta.mut_structure();
        fields.set("frames", frames);
        fields.set("slots", array(|frame| frame.slot));
        fields.set("times", array(|frame| frame.time_ns));
        fields.set("start", self.span.start_ns);
        fields.set("end", self.span.end_ns);
        fields.set("padded", self.padded as u32);
        fields.set("begins-run", self.begins_run);
        fields.set("caps", &self.caps);
        Ok(())
    }

    /// Of a clip's buffer; `None` for a buffer that is no clip.
    pub fn of(clip: &gst::BufferRef) -> Option<Self> {
        let meta = CustomMeta::from_buffer(clip, Self::NAME).ok()?;
        let fields = meta.structure();
        let numbers = |name| -> Option<Vec<u64>> {
            fields.get::<gst::Array>(name).ok()?.iter().map(|number| number.get().ok()).collect()
        };
        let buffers = fields.get::<gst::BufferList>("frames").ok()?;
        let (slots, times) = (numbers("slots")?, numbers("times")?);
        if slots.len() != buffers.len() || times.len() != buffers.len() {
            return None;
        }
        let frames = buffers.iter_owned().zip(slots).zip(times);
        Some(Self {
            frames: frames
                .map(|((buffer, slot), time_ns)| ClipFrame { slot, time_ns, buffer })
                .collect(),
            span: Span::new(fields.get("start").ok()?, fields.get("end").ok()?),
            padded: fields.get::<u32>("padded").ok()? as usize,
            begins_run: fields.get("begins-run").ok()?,
            caps: fields.get("caps").ok()?,
        })
    }

    /// The frames, oldest first, padding included: as many as the clip's length.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &ClipFrame> {
        self.frames.iter()
    }

    /// Where the clip lies in media time. Padding adds none.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Frames at the end that only repeat the last one, because the stream ended or broke off.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Whether the stream began, or was interrupted, before this clip.
    pub fn begins_run(&self) -> bool {
        self.begins_run
    }

    /// Caps of every frame.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Layout of every frame. Fails on frames that are not in plain memory.
    pub fn video_info(&self) -> Result<gst_video::VideoInfo, glib::BoolError> {
        gst_video::VideoInfo::from_caps(&self.caps)
    }
}
