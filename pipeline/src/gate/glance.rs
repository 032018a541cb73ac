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
            // The converter insists that these are the same.
            .fps(from.fps())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_any_usual_format_come_out_small_and_in_their_colour() {
        gst::init().unwrap();
        for (format, width, height) in
            [("I420", 1920, 1080), ("NV12", 640, 480), ("I420_10LE", 1080, 1920), ("GRAY8", 90, 60)]
        {
            let pipeline = gst::parse::launch(&format!(
                "videotestsrc num-buffers=1 pattern=white ! video/x-raw,format={format},\
                 width={width},height={height},framerate=30/1 ! fakesink name=sink sync=false \
                 enable-last-sample=true"
            ));
            let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
            pipeline.set_state(gst::State::Playing).unwrap();
            let limit = gst::ClockTime::from_seconds(20);
            pipeline.bus().unwrap().timed_pop_filtered(limit, &[gst::MessageType::Eos]).unwrap();
            let sink = pipeline.by_name("sink").unwrap();
            let sample = sink.property::<gst::Sample>("last-sample");
            let pad = sink.static_pad("sink").unwrap();
            let frame = Glance::default().at(sample.buffer().unwrap(), &pad).unwrap();
            pipeline.set_state(gst::State::Null).unwrap();
            assert!(frame.width().max(frame.height()) <= SIDE, "{format}: {frame:?}");
            let shape = |width: u32, height: u32| width as f32 / height as f32;
            assert!((shape(frame.width(), frame.height()) - shape(width, height)).abs() < 0.05);
            assert!(frame.data().iter().all(|value| *value > 220), "{format} is not white");
        }
    }
}
