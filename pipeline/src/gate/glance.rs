//! A decoded picture at a glance: small, as packed RGB.

use footage_clip::RgbFrame;
use gst::prelude::*;
use gst_video::prelude::*;

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
    to: gst_video::VideoInfo,
    way: Way,
}

/// How pictures of a format are made small.
#[derive(Debug)]
enum Way {
    /// Planes of bytes, luma and chroma, are read as they lie: many times faster.
    Planes,
    Convert {
        converter: gst_video::VideoConverter,
        small: gst::Buffer,
    },
}

type Frame<'a> = gst_video::VideoFrameRef<&'a gst::BufferRef>;

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
        let way = if is_planes_of_bytes(&from) {
            Way::Planes
        } else {
            let mut config = gst_video::VideoConverterConfig::new();
            config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
            let converter = gst_video::VideoConverter::new(&from, &to, Some(config)).ok()?;
            Way::Convert { converter, small: gst::Buffer::with_size(to.size()).ok()? }
        };
        Some(Self { caps, from, to, way })
    }

    fn scale(&mut self, picture: &gst::BufferRef) -> Option<RgbFrame> {
        let from = Frame::from_buffer_ref_readable(picture, &self.from).ok()?;
        let (width, height) = (self.to.width(), self.to.height());
        let Way::Convert { converter, small } = &mut self.way else {
            let planes =
                [0, 1, 2].map(|component| tiles(&from, component, width as usize, height as usize));
            let [Some(luma), Some(blue), Some(red)] = planes else { return None };
            let pixels = luma.iter().zip(&blue).zip(&red);
            let rgb: Vec<u8> = pixels.flat_map(|((y, u), v)| rgb(*y, *u, *v)).collect();
            return RgbFrame::try_new(width, height, rgb).ok();
        };
        {
            let small = small.make_mut();
            let mut to =
                gst_video::VideoFrameRef::from_buffer_ref_writable(small, &self.to).ok()?;
            converter.frame_ref(&from, &mut to);
        }
        let bytes = small.map_readable().ok()?;
        RgbFrame::try_new(width, height, bytes.as_slice()).ok()
    }
}

/// Luma and chroma of a byte each, in planes of their own or chroma in one.
fn is_planes_of_bytes(format: &gst_video::VideoInfo) -> bool {
    let details = format.format_info();
    details.is_yuv()
        && details.n_components() == 3
        && format.n_planes() >= 2
        && details.depth() == [8, 8, 8]
        && !details.is_tiled()
}

/// Means of one component over as many tiles as the small picture has pixels.
fn tiles(frame: &Frame<'_>, component: u32, width: usize, height: usize) -> Option<Vec<f32>> {
    let bytes = frame.comp_data(component).ok()?;
    let stride = usize::try_from(frame.comp_stride(component)).ok()?;
    let step = usize::try_from(frame.comp_pstride(component)).ok()?;
    let columns = frame.comp_width(component) as usize;
    let rows = frame.comp_height(component) as usize;
    let tile = |at: usize, of: usize, pixels: usize| {
        let from = at * pixels / of;
        from..((at + 1) * pixels / of).max(from + 1)
    };
    let mut means = Vec::with_capacity(width * height);
    let mut sums = vec![0_u32; columns];
    for y in 0..height {
        let lines = tile(y, height, rows);
        sums.fill(0);
        for row in lines.clone() {
            let line = bytes.get(row * stride..)?;
            if step == 1 {
                for (sum, value) in sums.iter_mut().zip(line) {
                    *sum += u32::from(*value);
                }
            } else {
                for (sum, value) in sums.iter_mut().zip(line.iter().step_by(step)) {
                    *sum += u32::from(*value);
                }
            }
        }
        means.extend((0..width).map(|x| {
            let span = tile(x, width, columns);
            let count = (span.len() * lines.len()) as f32;
            sums[span].iter().sum::<u32>() as f32 / count
        }));
    }
    Some(means)
}

/// ITU-R BT.601, the usual range. Another matrix would change colours a little, the same way each time.
fn rgb(y: f32, u: f32, v: f32) -> [u8; 3] {
    let (y, u, v) = (1.164 * (y - 16.0), u - 128.0, v - 128.0);
    [y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u].map(|value| (value + 0.5) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_any_usual_format_come_out_small_and_in_their_colour() {
        gst::init().unwrap();
        for (format, width, height) in
            [("I420", 1920, 1080), ("NV12", 642, 482), ("I420_10LE", 1080, 1920), ("Y444", 90, 61)]
        {
            let pipeline = gst::parse::launch(&format!(
                "videotestsrc num-buffers=1 pattern=red ! video/x-raw,format={format},\
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
            let wanted = [200..=255, 0..=40, 0..=40];
            let is_red = frame.data().chunks_exact(3).all(|pixel| {
                pixel.iter().zip(&wanted).all(|(value, wanted)| wanted.contains(value))
            });
            assert!(is_red, "{format} is not red: {:?}", &frame.data()[..3]);
        }
    }
}
