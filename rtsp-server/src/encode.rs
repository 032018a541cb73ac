//! The pipelines that turn files and test pictures into elementary streams.

use gst::prelude::*;

use crate::mount::{Codec, Content, MountSpec, Picture};

/// Frames a second of a test picture.
const PICTURE_FPS: u32 = 10;
/// Width and height of a test picture.
const PICTURE_SIZE: (u32, u32) = (320, 240);
/// Length of a test picture's loop in seconds.
const PICTURE_SECONDS: u32 = 10;
/// Frames between key frames where nothing is said.
const GOP: u32 = 20;

type Result<T> = std::result::Result<T, gst::glib::Error>;

/// A pipeline that ends in an appsink named `units`, which gives one access unit a buffer.
pub(crate) fn pipeline(spec: &MountSpec) -> Result<gst::Pipeline> {
    match &spec.content {
        Content::Picture(picture) => picture_pipeline(*picture, spec),
        Content::File(path) => {
            let pipeline = gst::Pipeline::new();
            let file = gst::ElementFactory::make("filesrc")
                .property("location", path.as_path())
                .build()
                .map_err(as_error)?;
            file_pipeline(&pipeline, &file, spec).map_err(as_error)?;
            Ok(pipeline)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn as_error(error: gst::glib::BoolError) -> gst::glib::Error {
    gst::glib::Error::new(gst::CoreError::Failed, &error.to_string())
}

fn picture_pipeline(picture: Picture, spec: &MountSpec) -> Result<gst::Pipeline> {
    let fps = spec.fps.unwrap_or(PICTURE_FPS);
    let (width, height) = spec.size.unwrap_or(PICTURE_SIZE);
    let frames = fps * spec.seconds.unwrap_or(PICTURE_SECONDS);
    let caps = format!(
        "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,\
         pixel-aspect-ratio=1/1"
    );
    let show = |pattern: &str, frames: u32| {
        format!("videotestsrc pattern={pattern} num-buffers={frames} ! {caps}")
    };
    let picture = match picture {
        Picture::Still => show("smpte75", frames),
        Picture::Ball => show("ball", frames),
        Picture::Change => format!(
            "concat name=both {} ! both. {} ! both. both. ! identity single-segment=true",
            show("smpte75", frames / 2),
            show("checkers-8", frames - frames / 2),
        ),
    };
    let codec = spec.codec.unwrap_or(Codec::H264);
    let tail = format!("{} ! {}", encoder(codec, spec), collect(codec));
    let pipeline = gst::parse::launch(&format!("{picture} ! {tail}"))?;
    pipeline.downcast().map_err(|_| {
        gst::glib::Error::new(gst::CoreError::Failed, "the description is no pipeline")
    })
}

/// Demuxes what can be served as it is, and decodes and encodes the rest. What is neither is left
/// unlinked.
fn file_pipeline(
    pipeline: &gst::Pipeline,
    file: &gst::Element,
    spec: &MountSpec,
) -> std::result::Result<(), gst::glib::BoolError> {
    let as_it_is = spec.size.is_none() && spec.fps.is_none() && spec.gop.is_none();
    let codecs = spec.codec.map_or(vec![Codec::H264, Codec::H265], |codec| vec![codec]);
    let codecs = if as_it_is { codecs } else { Vec::new() };
    let mut stops: gst::Caps = "video/x-raw(ANY);audio/x-raw(ANY);text/x-raw".parse()?;
    for codec in &codecs {
        stops.merge(gst::Caps::new_empty_simple(codec.media_type()));
    }
    let demux = gst::ElementFactory::make("decodebin").property("caps", stops).build()?;
    pipeline.add_many([file, &demux])?;
    file.link(&demux)?;
    let (weak, spec) = (pipeline.downgrade(), spec.clone());
    demux.connect_pad_added(move |demux, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = caps.structure(0).map(|kind| kind.name().to_string()).unwrap_or_default();
        let tail = match codecs.iter().find(|codec| codec.media_type() == kind) {
            Some(codec) => collect(*codec),
            None if kind == "video/x-raw" => transcode(&spec),
            None => return,
        };
        let linked = gst::parse::bin_from_description(&tail, true).and_then(|bin| {
            pipeline.add(&bin).map_err(as_error)?;
            bin.sync_state_with_parent().map_err(as_error)?;
            demux.link(&bin).map_err(as_error)
        });
        if let Err(error) = linked {
            gst::element_error!(demux, gst::CoreError::Negotiation, ("{}", error));
        }
    });
    Ok(())
}

fn transcode(spec: &MountSpec) -> String {
    let size = spec.size.map(|(width, height)| format!(",width={width},height={height}"));
    let rate = spec.fps.map(|fps| format!(",framerate={fps}/1"));
    let codec = spec.codec.unwrap_or(Codec::H264);
    format!(
        "videoconvert ! videoscale ! videorate ! video/x-raw,format=I420{}{} ! {} ! {}",
        size.unwrap_or_default(),
        rate.unwrap_or_default(),
        encoder(codec, spec),
        collect(codec),
    )
}

/// Every access unit in one buffer, every key frame with its parameter sets.
fn collect(codec: Codec) -> String {
    format!(
        "{}parse config-interval=-1 ! {},stream-format=byte-stream,alignment=au ! \
         appsink name=units sync=false max-buffers=8",
        codec.stem(),
        codec.media_type()
    )
}

/// The fastest encoder there is, without B-frames and without key frames that nobody asked for.
fn encoder(codec: Codec, spec: &MountSpec) -> String {
    let gop = spec.gop.unwrap_or(GOP);
    match codec {
        Codec::H265 => format!(
            "x265enc speed-preset=ultrafast tune=zerolatency log-level=none key-int-max={gop} \
             option-string=scenecut=0:open-gop=0:pools=none:frame-threads=1"
        ),
        Codec::H264 if gst::ElementFactory::find("x264enc").is_some() => format!(
            "x264enc speed-preset=ultrafast tune=zerolatency threads=1 key-int-max={gop} \
             option-string=scenecut=0:open-gop=0"
        ),
        Codec::H264 => format!("openh264enc complexity=low gop-size={gop}"),
    }
}
