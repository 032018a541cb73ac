//! `GStreamer`, the elements that footage needs, and the package that brings each.

use footage_pipeline::DecodeError;
use gst::prelude::*;

use super::{Check, Finding};

/// Something that `GStreamer` should be able to do: any of the elements does.
struct Ability {
    about: &'static str,
    elements: &'static [&'static str],
    brought: Brought,
}

/// By which package.
enum Brought {
    By(&'static str),
    /// By the one that a file of this format would be told to install.
    Reading(&'static str),
}

impl Ability {
    fn package(&self) -> Option<&'static str> {
        match self.brought {
            Brought::By(package) => Some(package),
            Brought::Reading(format) => {
                let format: gst::Caps = format.parse().ok()?;
                DecodeError::package_for(&format)
            }
        }
    }
}

const fn ability(
    about: &'static str,
    elements: &'static [&'static str],
    package: &'static str,
) -> Ability {
    Ability { about, elements, brought: Brought::By(package) }
}

const fn reading(
    about: &'static str,
    elements: &'static [&'static str],
    format: &'static str,
) -> Ability {
    Ability { about, elements, brought: Brought::Reading(format) }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";

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
    reading("MP4, MOV", &["qtdemux"], "video/quicktime"),
    reading("Matroska, WebM", &["matroskademux"], "video/x-matroska"),
    reading("AVI", &["avidemux"], "video/x-msvideo"),
    reading("FLV", &["flvdemux"], "video/x-flv"),
    reading("MPEG-TS", &["tsdemux"], "video/mpegts"),
    reading("MPEG-PS, VOB", &["mpegpsdemux"], "video/mpeg, systemstream=true"),
    reading("Ogg", &["oggdemux"], "application/ogg"),
    reading("WMV, ASF", &["asfdemux"], "video/x-ms-asf"),
    reading("MXF", &["mxfdemux"], "application/mxf"),
    ability("H.264 (parser)", &["h264parse"], BAD),
    reading("H.264", &["avdec_h264", "openh264dec"], "video/x-h264"),
    ability("H.265 (parser)", &["h265parse"], BAD),
    reading("H.265", &["avdec_h265", "libde265dec"], "video/x-h265"),
    reading("VP8", &["vp8dec", "avdec_vp8"], "video/x-vp8"),
    reading("VP9", &["vp9dec", "avdec_vp9"], "video/x-vp9"),
    reading("AV1", &["av1dec", "dav1ddec"], "video/x-av1"),
    reading("MPEG-2", &["avdec_mpeg2video", "mpeg2dec"], "video/mpeg, mpegversion=2"),
    reading("MPEG-4 Part 2", &["avdec_mpeg4"], "video/mpeg, mpegversion=4"),
    reading("H.263", &["avdec_h263"], "video/x-h263"),
    reading("ProRes", &["avdec_prores"], "video/x-prores"),
    reading("WMV (decoder)", &["avdec_wmv2"], "video/x-wmv"),
    reading("Motion JPEG", &["jpegdec", "avdec_mjpeg"], "image/jpeg"),
    reading("Theora", &["theoradec", "avdec_theora"], "video/x-theora"),
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
    let mut packages: Vec<_> = missing.iter().filter_map(|ability| ability.package()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ability_names_the_package_that_brings_its_first_element() {
        gst::init().unwrap();
        for ability in NEEDED.iter().chain(FORMATS) {
            let package = ability.package().unwrap_or_else(|| panic!("{}: none", ability.about));
            let Some(factory) = gst::ElementFactory::find(ability.elements[0]) else { continue };
            let source = factory.plugin().unwrap().source();
            let brought = match source.as_str() {
                "gstreamer" => "libgstreamer1.0-0".to_owned(),
                source => source.replacen("gst-", "gstreamer1.0-", 1),
            };
            assert_eq!(package, brought, "{}", ability.about);
        }
    }
}
