//! A decoded picture at a glance: small, as packed RGB.

use footage_clip::RgbFrame;
use gst::prelude::*;

/// Pixels of the longer side.
const SIDE: u32 = 320;

/// Scales pictures of one format after the other.
#[derive(Debug, Default)]
pub(super) struct Glance {
    scaler: Option<Scaler>,
}

#[derive(Debug)]
struct Scaler {
    caps: gst::Caps,
    from: gst_video::VideoInfo,
    converter: gst_video::VideoConverter,
    small: gst::Buffer,
}

impl Glance {
    /// The picture, as it came out of this pad; none where it cannot be read.
    pub(super) fn at(&mut self, picture: &gst::BufferRef, pad: &gst::Pad) -> Option<RgbFrame> {
        let caps = pad.current_caps()?;
        if self.scaler.as_ref().is_none_or(|scaler| scaler.caps != caps) {
            self.scaler = Scaler::new(caps);
        }
        self.scaler.as_mut()?.scale(picture)
    }
}

impl Scaler {
    fn new(caps: gst::Caps) -> Option<Self> {
        let from = gst_video::VideoInfo::from_caps(&caps).ok()?;
        let longer = from.width().max(from.height()).max(1);
        // Rows of whole words: their bytes lie packed.
        let side = |pixels: u32| (pixels * SIDE.min(longer) / longer).max(4);
        let (width, height) = (side(from.width()).next_multiple_of(4), side(from.height()));
        let to = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
            .interlace_mode(from.interlace_mode())
            .build()
            .ok()?;
        let mut config = gst_video::VideoConverterConfig::new();
        config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
        let converter = gst_video::VideoConverter::new(&from, &to, Some(config)).ok()?;
        let small = gst::Buffer::with_size(to.size()).ok()?;
        Some(Self { caps, from, converter, small })
    }

    fn scale(&mut self, picture: &gst::BufferRef) -> Option<RgbFrame> {
        let from = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, &self.from).ok()?;
        let info = self.converter.out_info().clone();
        {
            let small = self.small.make_mut();
            let mut to = gst_video::VideoFrameRef::from_buffer_ref_writable(small, &info).ok()?;
            self.converter.frame_ref(&from, &mut to);
        }
        let bytes = self.small.map_readable().ok()?;
        RgbFrame::try_new(info.width(), info.height(), bytes.as_slice()).ok()
    }
}
