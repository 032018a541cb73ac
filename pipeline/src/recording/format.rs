//! What a compressed stream is kept in.

use footage_clip::{Container, FragmentName};
use gst::prelude::*;

use super::RecordingError;

/// A stream's format, and how it gets into a file.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) caps: gst::Caps,
    pub(super) container: Container,
    /// The elements that give the muxer what it takes.
    pub(super) adapters: Adapters,
}

/// Names of elements, and caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adapters {
    pub(super) parser: &'static str,
    /// What the parser is to make of the stream; it cannot see what the muxer wants.
    pub(super) parsed: &'static str,
    /// Tells when each picture is to be decoded, where the stream does not: MP4 wants to know.
    pub(super) timestamper: Option<&'static str>,
}

const H264: Adapters = Adapters {
    parser: "h264parse",
    parsed: "video/x-h264,stream-format=avc,alignment=au",
    timestamper: Some("h264timestamper"),
};
const H265: Adapters = Adapters {
    parser: "h265parse",
    parsed: "video/x-h265,stream-format=hvc1,alignment=au",
    timestamper: Some("h265timestamper"),
};
const JPEG: Adapters = Adapters { parser: "jpegparse", parsed: "image/jpeg", timestamper: None };
const VP8: Adapters = Adapters { parser: "identity", parsed: "video/x-vp8", timestamper: None };
const VP9: Adapters = Adapters { parser: "vp9parse", parsed: "video/x-vp9", timestamper: None };

/// Fields of caps that a file's header repeats. Others may change within a file: a frame rate is
/// often learnt only after some pictures.
const HEADER_FIELDS: [&str; 6] =
    ["width", "height", "codec_data", "stream-format", "alignment", "profile"];

impl Format {
    /// The format for a stream of these caps.
    pub(super) fn of(caps: &gst::CapsRef) -> Result<Self, RecordingError> {
        let fields = caps.structure(0).ok_or_else(|| RecordingError::Format("nothing".into()))?;
        if fields.get::<&str>("alignment").is_ok_and(|alignment| alignment == "nal") {
            return Err(RecordingError::Format("a stream in parts of pictures".into()));
        }
        let (container, adapters) = match fields.name().as_str() {
            "video/x-h264" => (Container::Mp4, H264),
            "video/x-h265" => (Container::Mp4, H265),
            "image/jpeg" => (Container::Matroska, JPEG),
            "video/x-vp8" => (Container::Matroska, VP8),
            "video/x-vp9" => (Container::Matroska, VP9),
            "video/x-raw" => return Err(RecordingError::Format("uncompressed video".into())),
            other => return Err(RecordingError::Format(format!("`{other}`"))),
        };
        Ok(Self { caps: caps.to_owned(), container, adapters })
    }

    /// The name of a fragment that begins at `begins_ns`.
    pub(super) fn name(&self, begins_ns: u64) -> FragmentName {
        FragmentName { begins_ns, container: self.container }
    }

    /// Whether a file of this format can hold what these caps announce.
    pub(super) fn holds(&self, caps: &gst::CapsRef) -> bool {
        let (Some(ours), Some(theirs)) = (self.caps.structure(0), caps.structure(0)) else {
            return false;
        };
        ours.name() == theirs.name()
            && HEADER_FIELDS.iter().all(|field| {
                match (ours.value(*field).ok(), theirs.value(*field).ok()) {
                    (None, None) => true,
                    (Some(one), Some(other)) => {
                        one.compare(other).is_some_and(std::cmp::Ordering::is_eq)
                    }
                    _ => false,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(width: i32, codec_data: &[u8]) -> gst::Caps {
        gst::init().unwrap();
        gst::Caps::builder("video/x-h264")
            .field("width", width)
            .field("codec_data", gst::Buffer::from_slice(codec_data.to_vec()))
            .build()
    }

    #[test]
    fn a_file_goes_on_unless_its_header_would_be_wrong() {
        let format = Format::of(&h264(640, &[1, 2])).unwrap();
        assert!(format.holds(&h264(640, &[1, 2])));
        let mut faster = h264(640, &[1, 2]);
        faster.make_mut().set("framerate", gst::Fraction::new(25, 1));
        assert!(format.holds(&faster));
        assert!(!format.holds(&h264(320, &[1, 2])));
        assert!(!format.holds(&h264(640, &[1, 3])));
    }

    #[test]
    fn what_no_container_takes_is_refused_by_its_name() {
        gst::init().unwrap();
        for (caps, word) in [("video/x-raw", "uncompressed"), ("video/x-odd", "video/x-odd")] {
            let refused = Format::of(&gst::Caps::new_empty_simple(caps)).unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }

    #[test]
    fn parts_of_pictures_are_refused_and_not_left_out_one_by_one() {
        gst::init().unwrap();
        let parts = gst::Caps::builder("video/x-h265").field("alignment", "nal").build();
        assert!(Format::of(&parts).unwrap_err().to_string().contains("parts of pictures"));
    }
}
