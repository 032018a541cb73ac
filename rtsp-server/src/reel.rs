//! What a mount shows, encoded once and kept in memory.

use gst::ClockTime;
use gst::prelude::*;

use crate::ServerError;
use crate::encode;
use crate::mount::{Codec, Content, MountSpec};

/// How long nothing may come from the file or the encoder.
const PATIENCE: ClockTime = ClockTime::from_seconds(30);

/// One coded picture.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// Byte stream, with the parameter sets where it is a key frame.
    pub bytes: gst::Buffer,
    /// When it is sent, from the start of the reel.
    pub sent: ClockTime,
    /// When it is shown, from the start of the reel.
    pub shown: ClockTime,
    /// Can be decoded without any other.
    pub key: bool,
}

/// A loop of coded pictures, in decoding order.
#[derive(Debug)]
pub struct Reel {
    codec: Codec,
    units: Vec<AccessUnit>,
    length: ClockTime,
}

impl Reel {
    /// Reads or renders what `spec` describes.
    pub fn load(spec: &MountSpec) -> Result<Self, ServerError> {
        let failed = |reason: String| {
            let what = match &spec.content {
                Content::File(path) => path.display().to_string(),
                Content::Picture(picture) => format!("{picture:?}"),
            };
            ServerError::Reel { what, reason }
        };
        let pipeline = encode::pipeline(spec).map_err(|error| failed(error.to_string()))?;
        let samples = collect(&pipeline);
        // Whatever came of it, the pipeline ends here, and nobody waits for how.
        pipeline.set_state(gst::State::Null).ok();
        Self::of(&samples.map_err(failed)?).map_err(failed)
    }

    fn of(samples: &[gst::Sample]) -> Result<Self, String> {
        let first = samples.first().ok_or("no video in it")?;
        let kind = first.caps().and_then(|caps| caps.structure(0)).map(|kind| kind.name().as_str());
        let codec = match kind {
            Some("video/x-h264") => Codec::H264,
            Some("video/x-h265") => Codec::H265,
            other => return Err(format!("cannot serve {}", other.unwrap_or("what has no caps"))),
        };
        let mut units: Vec<AccessUnit> = Vec::with_capacity(samples.len());
        for buffer in samples.iter().filter_map(|sample| sample.buffer_owned()) {
            let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            if units.is_empty() && !key {
                continue;
            }
            let shown = buffer.pts().or(buffer.dts()).ok_or("a picture without a time")?;
            let sent = buffer.dts().unwrap_or(shown);
            units.push(AccessUnit { bytes: buffer, sent, shown, key });
        }
        let start = units.first().ok_or("no key frame in it")?.sent;
        for unit in &mut units {
            unit.sent = unit.sent.saturating_sub(start);
            unit.shown = unit.shown.saturating_sub(start).max(unit.sent);
        }
        let end = units.last().map_or(ClockTime::ZERO, |unit| unit.sent);
        let step = end / (units.len() as u64 - 1).max(1);
        let length = end + step.max(ClockTime::from_mseconds(1));
        Ok(Self { codec, units, length })
    }

    /// The codec of every access unit.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The access units in decoding order; the first is a key frame.
    pub fn units(&self) -> &[AccessUnit] {
        &self.units
    }

    /// From the first picture to its return.
    pub fn length(&self) -> ClockTime {
        self.length
    }

    /// The last key frame that is sent no later than `moment` of an endless loop.
    pub fn key_frame_before(&self, moment: ClockTime) -> usize {
        let within = ClockTime::from_nseconds(moment.nseconds() % self.length.nseconds());
        self.units.iter().rposition(|unit| unit.key && unit.sent <= within).unwrap_or(0)
    }
}

/// All access units of a pipeline that ends in an appsink named `units`.
fn collect(pipeline: &gst::Pipeline) -> Result<Vec<gst::Sample>, String> {
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    pipeline.set_state(gst::State::Playing).map_err(|_| said(&bus, "does not start"))?;
    let mut samples = Vec::new();
    let mut idle = ClockTime::ZERO;
    let wait = ClockTime::from_mseconds(50);
    while idle < PATIENCE {
        if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]) {
            if let gst::MessageView::Error(error) = message.view() {
                return Err(error.error().to_string());
            }
            if by_name(pipeline).is_none() {
                return Ok(samples);
            }
        }
        let Some(sink) = by_name(pipeline) else {
            std::thread::sleep(wait.into());
            idle += wait;
            continue;
        };
        match sink.try_pull_sample(wait) {
            Some(sample) => {
                idle = ClockTime::ZERO;
                samples.push(sample);
            }
            None if sink.is_eos() => return Ok(samples),
            None => idle += wait,
        }
    }
    Err(format!("nothing came for {PATIENCE}"))
}

fn by_name(pipeline: &gst::Pipeline) -> Option<gst_app::AppSink> {
    pipeline.by_name("units")?.downcast().ok()
}

fn said(bus: &gst::Bus, otherwise: &str) -> String {
    let message = bus.pop_filtered(&[gst::MessageType::Error]);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Reel {
        gst::init().unwrap();
        Reel::load(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_test_picture_is_a_loop_of_the_asked_length() {
        let reel = load("a=test:ball,fps=10,seconds=3,gop=10,size=64x48");
        assert_eq!(reel.codec(), Codec::H264);
        assert_eq!(reel.units().len(), 30);
        assert_eq!(reel.length(), ClockTime::from_seconds(3));
        let keys: Vec<usize> = (0..30).filter(|at| reel.units()[*at].key).collect();
        assert_eq!(keys, [0, 10, 20]);
    }

    #[test]
    fn the_loop_is_entered_at_a_key_frame() {
        let reel = load("a=test:still,fps=10,seconds=3,gop=10,size=64x48");
        for (moment, at) in [(0, 0), (999, 0), (1000, 10), (2950, 20), (3000, 0), (4100, 10)] {
            assert_eq!(reel.key_frame_before(ClockTime::from_mseconds(moment)), at, "{moment}");
        }
    }

    #[test]
    fn a_picture_that_changes_is_as_long_as_the_others() {
        let reel = load("a=test:change,fps=5,seconds=4,size=64x48");
        assert_eq!(reel.units().len(), 20);
        assert_eq!(reel.length(), ClockTime::from_seconds(4));
    }

    #[test]
    fn a_picture_can_be_h265() {
        assert_eq!(load("a=test:ball,codec=h265,seconds=1,size=64x48").codec(), Codec::H265);
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        gst::init().unwrap();
        let error = Reel::load(&"a=/no/such/file.mp4".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("/no/such/file.mp4"), "{error}");
    }
}
