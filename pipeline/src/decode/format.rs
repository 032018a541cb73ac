//! What may be opened, and by which elements.
//!
//! A media file is data: nothing in it may make us read another file or fetch anything. So a file's
//! type is looked at before any element is made, and elements are chosen from those that turn bytes
//! into pictures, never from those that follow addresses.

use gst::prelude::*;

use super::DecodeError;

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pictures, ready to use.
    Raw,
    /// A container, or compressed pictures: to be taken further.
    Coded,
    /// Something that is not looked at.
    Other(&'static str),
    /// The file is not to be read.
    Refused(DecodeError),
}

/// Of a whole file.
pub(super) fn kind_of_file(caps: &gst::CapsRef) -> Kind {
    let media_type = media_type(caps);
    let refuse = |error| Kind::Refused(error);
    match media_type {
        "application/x-hls" => refuse(DecodeError::Playlist("HLS".into())),
        "application/dash+xml" => refuse(DecodeError::Playlist("DASH".into())),
        "application/vnd.ms-sstr+xml" => refuse(DecodeError::Playlist("Smooth Streaming".into())),
        "application/sdp" => refuse(DecodeError::Playlist("SDP".into())),
        "text/uri-list" => refuse(DecodeError::Playlist("M3U".into())),
        "application/smil" | "application/xspf+xml" => {
            refuse(DecodeError::Playlist(media_type.into()))
        }
        // GStreamer's decoder for them shows the first picture again and again, and never ends.
        "image/gif" => refuse(DecodeError::NoElement {
            what: "a GIF animation".into(),
            remedy: "convert it, for example with `ffmpeg -i IN OUT.mp4`".into(),
        }),
        _ => match media_type.split_once('/') {
            Some(("image", kind)) => refuse(DecodeError::Picture(kind.into())),
            Some(("text", _)) => refuse(DecodeError::NotVideo("text".into())),
            _ if media_type.starts_with("application/x-subtitle") => {
                refuse(DecodeError::NotVideo("subtitles".into()))
            }
            Some(("application", kind)) if is_document(kind) => {
                refuse(DecodeError::NotVideo(format!("a file of type {media_type}")))
            }
            Some(("application", _)) => Kind::Coded,
            _ => kind_of_stream(caps),
        },
    }
}

/// Of a stream inside a file.
pub(super) fn kind_of_stream(caps: &gst::CapsRef) -> Kind {
    match media_type(caps) {
        "video/x-raw" => Kind::Raw,
        "application/x-cenc" | "application/x-cbcs" | "application/x-webm-enc" => {
            let original =
                caps.structure(0).and_then(|s| s.get::<&str>("original-media-type").ok());
            match original {
                Some(original) if original.starts_with("audio/") => Kind::Other("sound"),
                _ => Kind::Refused(DecodeError::Encrypted),
            }
        }
        // MP4 files of one brand are called so, whatever they hold.
        "audio/x-m4a" => Kind::Coded,
        other => match other.split_once('/') {
            Some(("audio", _)) => Kind::Other("sound"),
            Some(("text" | "subpicture" | "closedcaption", _)) => Kind::Other("subtitles"),
            Some(("application", "x-ssa" | "x-ass" | "x-usf" | "ttml+xml")) => {
                Kind::Other("subtitles")
            }
            Some(("application", kind)) if kind.starts_with("x-subtitle") => {
                Kind::Other("subtitles")
            }
            Some(("video" | "image", _)) => Kind::Coded,
            _ => Kind::Other("data"),
        },
    }
}

pub(super) fn media_type(caps: &gst::CapsRef) -> &str {
    caps.structure(0).map_or("", |fields| fields.name().as_str())
}

/// Types that `GStreamer` recognises only in order to say that it does not play them.
fn is_document(kind: &str) -> bool {
    const DOCUMENTS: &[&str] = &[
        "msword",
        "octet-stream",
        "pdf",
        "postscript",
        "vnd.debian.binary-package",
        "x-7zip",
        "x-ar",
        "x-bzip",
        "x-compress",
        "x-executable",
        "x-gzip",
        "x-ms-dos-executable",
        "x-rar",
        "x-rpm",
        "x-tar",
        "x-xz",
        "xml",
        "zip",
    ];
    DOCUMENTS.contains(&kind)
}

/// What an element does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Demux,
    Parse,
    Decode,
}

/// The step that a kind of element takes for us; `None` for one that we never use.
fn step_of(klass: &str) -> Option<Step> {
    let has = |word| klass.split('/').any(|part| part == word);
    if ["Adaptive", "Network", "Source", "Sink", "Subtitle", "Audio", "Bin", "RTP"]
        .into_iter()
        .any(has)
    {
        return None;
    }
    if has("Demuxer") {
        Some(Step::Demux)
    } else if has("Decoder") && (has("Video") || has("Image")) {
        Some(Step::Decode)
    } else if has("Parser") {
        Some(Step::Parse)
    } else {
        None
    }
}

/// Fields of caps that say how pictures are wrapped, not what they are: a parser changes them to what
/// a decoder takes.
const WRAPPING: [&str; 6] =
    ["stream-format", "alignment", "header-format", "codec_data", "parsed", "framed"];

/// Elements that take `caps` a step further, the best first.
pub(super) fn elements_for(caps: &gst::Caps) -> Vec<(Step, gst::ElementFactory)> {
    let mut elements: Vec<_> = gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::DECODABLE,
        gst::Rank::MARGINAL,
    )
    .into_iter()
    .filter_map(|factory| Some((step_of(factory.metadata("klass")?)?, factory)))
    // These split off transparency, which we would drop, and fail where there is none.
    .filter(|(_, factory)| !factory.name().ends_with("decodebin"))
    .filter(|(_, factory)| factory.can_sink_any_caps(caps))
    .collect();
    // Names decide between equals, so that every run chooses alike.
    elements.sort_by_cached_key(|(step, factory)| {
        let order = match step {
            Step::Demux => 0,
            Step::Parse => 1,
            Step::Decode => 2,
        };
        (order, std::cmp::Reverse(i32::from(factory.rank())), factory.name())
    });
    elements
}

/// What a parser of `caps` may give: what the decoders behind it take, the best decoder's first, in
/// whole pictures where they take such. A depayloader gives parts of pictures, and the decoders that
/// take those as they are may be few, or the worst, or none.
pub(super) fn wanted_of_parser(caps: &gst::Caps) -> gst::Caps {
    let mut unwrapped = caps.clone();
    for fields in unwrapped.make_mut().iter_mut() {
        fields.remove_fields(WRAPPING);
    }
    let mut taken = gst::Caps::new_empty();
    let elements = elements_for(&unwrapped);
    for (_, factory) in elements.iter().filter(|(step, _)| *step == Step::Decode) {
        let sinks = factory.static_pad_templates().into_iter();
        for template in sinks.filter(|template| template.direction() == gst::PadDirection::Sink) {
            taken.merge(template.caps());
        }
    }
    let whole = whole_pictures(media_type(caps));
    let wanted =
        whole.map(|whole| taken.intersect_with_mode(&whole, gst::CapsIntersectMode::First));
    wanted.filter(|wanted| !wanted.is_empty()).unwrap_or(taken)
}

/// How a stream of whole pictures says so; none where no stream of the type comes in parts.
fn whole_pictures(media_type: &str) -> Option<gst::Caps> {
    matches!(media_type, "video/x-h264" | "video/x-h265")
        .then(|| gst::Caps::builder(media_type).field("alignment", "au").build())
}

/// Width and height, where caps tell them.
pub(super) fn size(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let fields = caps.structure(0)?;
    let side = |name| fields.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
    Some((side("width")?, side("height")?))
}

/// Refuses pictures beyond the limit, where caps tell their size.
pub(crate) fn check_size(caps: &gst::CapsRef, max_pixels: u64) -> Result<(), DecodeError> {
    match size(caps) {
        Some((width, height)) if u64::from(width) * u64::from(height) > max_pixels => {
            Err(DecodeError::TooLarge { width, height, max_pixels })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(media_type: &str) -> gst::Caps {
        gst::init().unwrap();
        gst::Caps::builder(media_type).build()
    }

    #[test]
    fn playlists_pictures_and_documents_are_refused_as_such() {
        let refusal = |media_type| match kind_of_file(&caps(media_type)) {
            Kind::Refused(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        assert!(refusal("application/x-hls").starts_with("is a playlist (HLS)"));
        assert!(refusal("text/uri-list").starts_with("is a playlist"));
        assert_eq!(refusal("image/png"), "is a picture (png), not a video");
        assert!(refusal("image/gif").starts_with("is a GIF animation"));
        assert_eq!(refusal("text/html"), "is not a video but text");
        assert!(refusal("application/x-executable").starts_with("is not a video but a file of"));
    }

    #[test]
    fn no_element_that_follows_addresses_is_ever_chosen() {
        for media_type in [
            "application/x-hls",
            "application/dash+xml",
            "application/vnd.ms-sstr+xml",
            "application/sdp",
            "text/uri-list",
        ] {
            assert_eq!(elements_for(&caps(media_type)), [], "{media_type}");
        }
    }

    #[test]
    fn containers_and_codecs_have_their_elements() {
        let first = |media_type| elements_for(&caps(media_type)).first().map(|(step, _)| *step);
        assert_eq!(first("video/quicktime"), Some(Step::Demux));
        assert_eq!(first("video/x-matroska"), Some(Step::Demux));
        assert_eq!(first("video/x-h264"), Some(Step::Parse));
        assert_eq!(first("video/x-vp8"), Some(Step::Decode));
        assert_eq!(first("video/x-nonsense"), None);
    }

    #[test]
    fn a_parser_gives_whole_pictures_in_the_best_decoders_form_whatever_it_is_given() {
        for codec in ["video/x-h264", "video/x-h265"] {
            let mut in_parts = caps(codec);
            in_parts.make_mut().set("stream-format", "byte-stream");
            in_parts.make_mut().set("alignment", "nal");
            let wanted = wanted_of_parser(&in_parts);
            assert!(!wanted.is_empty());
            assert!(!wanted.can_intersect(&in_parts), "{wanted}");
            let best = elements_for(&caps(codec));
            let (_, best) = best.iter().find(|(step, _)| *step == Step::Decode).unwrap();
            let first = gst::Caps::from_iter([wanted.structure(0).unwrap().to_owned()]);
            assert!(best.can_sink_all_caps(&first), "{} does not take {first}", best.name());
        }
    }

    #[test]
    fn what_lies_beside_the_video_is_passed_over() {
        assert_eq!(kind_of_stream(&caps("application/x-ass")), Kind::Other("subtitles"));
        assert_eq!(kind_of_stream(&caps("meta/x-klv")), Kind::Other("data"));
        assert_eq!(kind_of_stream(&caps("image/jpeg")), Kind::Coded);
    }

    #[test]
    fn encryption_is_told_from_what_it_hides() {
        gst::init().unwrap();
        let cenc = |original: &str| {
            gst::Caps::builder("application/x-cenc").field("original-media-type", original).build()
        };
        assert_eq!(kind_of_stream(&cenc("video/x-h264")), Kind::Refused(DecodeError::Encrypted));
        assert_eq!(kind_of_stream(&cenc("audio/mpeg")), Kind::Other("sound"));
    }
}
