//! `GStreamer`, the elements that footage needs, and the package that brings each.

use gst::prelude::*;

use super::{Check, Finding};

/// Something that `GStreamer` should be able to do: any of the elements does.
struct Ability {
    about: &'static str,
    elements: &'static [&'static str],
    package: &'static str,
}

const fn ability(
    about: &'static str,
    elements: &'static [&'static str],
    package: &'static str,
) -> Ability {
    Ability { about, elements, package }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// Without these nothing can be indexed.
const NEEDED: &[Ability] = &[
    ability("reading files", &["filesrc"], "libgstreamer1.0-0"),
    ability("recognising formats", &["typefind"], "libgstreamer1.0-0"),
    ability("converting and scaling", &["videoconvertscale"], BASE),
    ability("handing pictures over", &["appsink"], BASE),
    ability("deinterlacing", &["deinterlace"], GOOD),
    ability("turning pictures upright", &["videoflip"], GOOD),
];

/// Without one of these, files of that kind fail, and the others do not.
const FORMATS: &[Ability] = &[
    ability("MP4, MOV", &["qtdemux"], GOOD),
    ability("Matroska, WebM", &["matroskademux"], GOOD),
    ability("AVI", &["avidemux"], GOOD),
    ability("FLV", &["flvdemux"], GOOD),
    ability("MPEG-TS", &["tsdemux"], BAD),
    ability("MPEG-PS, VOB", &["mpegpsdemux"], BAD),
    ability("Ogg", &["oggdemux"], BASE),
    ability("WMV, ASF", &["asfdemux"], UGLY),
    ability("MXF", &["mxfdemux"], BAD),
    ability("H.264 (parser)", &["h264parse"], BAD),
    ability("H.264", &["avdec_h264", "openh264dec"], LIBAV),
    ability("H.265 (parser)", &["h265parse"], BAD),
    ability("H.265", &["avdec_h265", "libde265dec"], LIBAV),
    ability("VP8", &["vp8dec", "avdec_vp8"], GOOD),
    ability("VP9", &["vp9dec", "avdec_vp9"], GOOD),
    ability("AV1", &["av1dec", "dav1ddec"], BAD),
    ability("MPEG-2", &["avdec_mpeg2video", "mpeg2dec"], LIBAV),
    ability("MPEG-4 Part 2", &["avdec_mpeg4"], LIBAV),
    ability("H.263", &["avdec_h263"], LIBAV),
    ability("ProRes", &["avdec_prores"], LIBAV),
    ability("WMV (decoder)", &["avdec_wmv2"], LIBAV),
    ability("Motion JPEG", &["jpegdec", "avdec_mjpeg"], GOOD),
    ability("Theora", &["theoradec", "avdec_theora"], BASE),
];

/// What concerns media.
pub(super) fn checks() -> Vec<Check> {
    if let Err(error) = gst::init() {
        let how = "install libgstreamer1.0-0 and the plugins in the README";
        return vec![("GStreamer", Finding::Bad(format!("does not start: {error}: {how}")))];
    }
    vec![
        ("GStreamer", version()),
        ("core elements", missing(NEEDED, Finding::Bad)),
        ("own elements", own_elements()),
        ("formats", missing(FORMATS, Finding::Note)),
        ("hardware", hardware()),
    ]
}

fn version() -> Finding {
    let (major, minor, micro, _) = gst::version();
    let text = format!("{major}.{minor}.{micro}");
    if (major, minor) < (1, 22) {
        return Finding::Bad(format!("{text}: Footage needs 1.22 or newer"));
    }
    Finding::Good(text)
}

/// The elements that are part of this program.
fn own_elements() -> Finding {
    match gstfootage::register_static() {
        Ok(()) => Finding::Good("footagesample, footageclip".to_owned()),
        Err(error) => Finding::Bad(format!("cannot be registered: {error}: reinstall Footage")),
    }
}

fn is_there(ability: &Ability) -> bool {
    ability.elements.iter().any(|name| gst::ElementFactory::find(name).is_some())
}

fn missing(abilities: &[Ability], as_finding: fn(String) -> Finding) -> Finding {
    let missing: Vec<&Ability> = abilities.iter().filter(|ability| !is_there(ability)).collect();
    if missing.is_empty() {
        let all: Vec<_> = abilities.iter().map(|ability| ability.about).collect();
        return Finding::Good(all.join(", "));
    }
    let named: Vec<_> = missing.iter().map(|ability| ability.about).collect();
    let mut packages: Vec<_> = missing.iter().map(|ability| ability.package).collect();
    packages.sort_unstable();
    packages.dedup();
    as_finding(format!("missing: {}: sudo apt install {}", named.join(", "), packages.join(" ")))
}

/// Decoders that leave the processor free.
fn hardware() -> Finding {
    let kind = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    let decoders = gst::ElementFactory::factories_with_type(kind, gst::Rank::NONE);
    let names: Vec<String> = decoders
        .iter()
        .filter(|factory| factory.has_type(gst::ElementFactoryType::HARDWARE))
        .map(|factory| factory.name().to_string())
        .collect();
    if names.is_empty() {
        return Finding::Good("no video decoder in hardware: the processor decodes".to_owned());
    }
    Finding::Good(names.join(", "))
}
