//! A graph around a decoder, with and without keyframe-elastic decoding.
#![allow(dead_code, reason = "each file that uses it needs a part of it")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex};

use footage_clip::{Cut, RgbFrame, TimedFrame};
use footage_pipeline::{ElasticDecode, ElasticSettings, ElasticUse};
use footage_synth::Reel;
use gst::prelude::*;
use gst_video::prelude::*;
use gstfootage::FootageClipMeta;

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Every picture that left the decoder: its time, and a digest of its pixels.
    pub(crate) pictures: Vec<(u64, u64)>,
    pub(crate) clips: Vec<Cut<RgbFrame>>,
    pub(crate) runs: usize,
    pub(crate) used: ElasticUse,
}

/// Encodes a reel with a piece of a `gst-launch-1.0` line, container included.
pub(crate) fn encode(reel: &Reel<'_>, line: &str, out: &Path) {
    gst::init().unwrap();
    let (view, fps) = (reel.view(), reel.truth().fps);
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time block=true max-bytes=4000000 caps=video/x-raw,format=RGB,\
         width={},height={},framerate={fps}/1 ! videoconvert ! video/x-raw,format=I420 ! {line} \
         ! filesink location={}",
        view.width,
        view.height,
        out.display()
    ))
    .unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for index in 0..reel.frame_count() {
        let mut picture = gst::Buffer::from_mut_slice(reel.frame(index));
        let fields = picture.get_mut().unwrap();
        fields.set_pts(gst::ClockTime::SECOND.mul_div_round(index as u64, u64::from(fps)));
        fields.set_duration(gst::ClockTime::SECOND.mul_div_round(1, u64::from(fps)));
        source.push_buffer(picture).unwrap();
    }
    source.end_of_stream().unwrap();
    wait(&pipeline);
}

/// Decodes a Matroska or MP4 file of H.264 or H.265, all of it or as a camera of a still scene.
pub(crate) fn decode(path: &Path, codec: &str, elastic: Option<ElasticSettings>) -> Watched {
    gst::init().unwrap();
    gstfootage::register_static().unwrap();
    let demuxer =
        if path.extension().is_some_and(|e| e == "mkv") { "matroskademux" } else { "qtdemux" };
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! {demuxer} ! {codec}parse ! avdec_{codec} name=decoder \
         ! footagesample rate=2/1 ! videoconvertscale ! video/x-raw,format=RGB,width=320,height=240 \
         ! footageclip rate=2/1 length=8 stride=4 max-gap=5000000000 \
         ! appsink name=clips sync=false",
        path.display()
    ))
    .unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let decoder = pipeline.by_name("decoder").unwrap();
    let (sink, src) = (decoder.static_pad("sink").unwrap(), decoder.static_pad("src").unwrap());
    let elastic = elastic.map(ElasticDecode::new);
    if let Some(elastic) = &elastic {
        elastic.guard(&sink);
        elastic.watch(&src);
    }
    let pictures = digests(&src);
    let clips = Arc::new(Mutex::new((Vec::new(), 0)));
    let sink = pipeline.by_name("clips").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let into = clips.clone();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let meta = FootageClipMeta::of(sample.buffer().unwrap()).unwrap();
                let mut into = into.lock().unwrap();
                into.1 += usize::from(meta.begins_run());
                into.0.push(clip(&meta));
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    wait(&pipeline);
    let (clips, runs) = std::mem::take(&mut *clips.lock().unwrap());
    let pictures = std::mem::take(&mut *pictures.lock().unwrap());
    let used = elastic.map(|elastic| elastic.used()).unwrap_or_default();
    Watched { pictures, clips, runs, used }
}

/// Notes what leaves a decoder.
fn digests(src: &gst::Pad) -> Arc<Mutex<Vec<(u64, u64)>>> {
    let pictures = Arc::new(Mutex::new(Vec::new()));
    let into = pictures.clone();
    src.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let picture = info.buffer().unwrap();
        let format = gst_video::VideoInfo::from_caps(&pad.current_caps().unwrap()).unwrap();
        let digest = digest(picture, &format);
        into.lock().unwrap().push((picture.pts().unwrap().nseconds(), digest));
        gst::PadProbeReturn::Ok
    });
    pictures
}

/// Of the pixels alone: rows are padded with whatever lay there.
fn digest(picture: &gst::BufferRef, format: &gst_video::VideoInfo) -> u64 {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, format).unwrap();
    let mut digest = DefaultHasher::new();
    for plane in 0..format.n_planes() {
        let stride = usize::try_from(frame.plane_stride()[plane as usize]).unwrap();
        let row =
            (frame.comp_width(plane) * format.comp_pstride(plane as u8).cast_unsigned()) as usize;
        let rows = frame.plane_data(plane).unwrap().chunks(stride);
        for line in rows.take(frame.comp_height(plane) as usize) {
            line[..row].hash(&mut digest);
        }
    }
    digest.finish()
}

fn clip(meta: &FootageClipMeta) -> Cut<RgbFrame> {
    let info = meta.video_info().unwrap();
    let frames = meta.frames().map(|frame| {
        let bytes = frame.buffer.map_readable().unwrap();
        let picture = RgbFrame::try_new(info.width(), info.height(), bytes.as_slice()).unwrap();
        TimedFrame { slot: frame.slot, time_ns: frame.time_ns, frame: picture }
    });
    Cut { frames: frames.collect(), span: meta.span(), padded: meta.padded() }
}

fn wait(pipeline: &gst::Pipeline) {
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let limit = gst::ClockTime::from_seconds(120);
    let message = pipeline.bus().unwrap().timed_pop_filtered(limit, &kinds);
    let ended = message.as_ref().map(|message| message.view());
    assert!(matches!(ended, Some(gst::MessageView::Eos(_))), "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}
