//! Compressed pictures that no other refers to.
//!
//! About half the pictures of common H.264 files are such. Where one of them would not be sampled it
//! need not be decoded: every other picture comes out the same, to the bit.

/// How the units of an H.264 stream are told apart (ISO/IEC 14496-10 annex B, 14496-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum H264Layout {
    /// By start codes.
    StartCodes,
    /// Each has its length before it, in so many bytes.
    Lengths(usize),
}

impl H264Layout {
    /// Of a parsed stream, one picture a buffer. None for another codec, and for interlaced video,
    /// where a picture's two fields come apart and may differ.
    pub(super) fn of(caps: &gst::CapsRef) -> Option<Self> {
        let fields = caps.structure(0).filter(|fields| fields.name() == "video/x-h264")?;
        let is_whole = fields.get::<&str>("alignment").ok()? == "au";
        // Versions of the parser differ in which of the two they tell.
        let is_progressive = match fields.get::<&str>("interlace-mode") {
            Ok(mode) => mode == "progressive",
            Err(_) => fields.get::<&str>("coded-picture-structure").ok()? == "frame",
        };
        if !is_whole || !is_progressive {
            return None;
        }
        match fields.get::<&str>("stream-format").ok()? {
            "byte-stream" => Some(Self::StartCodes),
            "avc" => {
                let header = fields.get::<gst::Buffer>("codec_data").ok()?;
                let header = header.map_readable().ok()?;
                Some(Self::Lengths(usize::from(header.get(4)? & 3) + 1))
            }
            _ => None,
        }
    }

    /// Whether no other picture refers to this one. In doubt, one might.
    pub(super) fn is_disposable(self, picture: &[u8]) -> bool {
        // All slices of a picture agree (7.4.1), so the first one tells.
        self.first_slice(picture).is_some_and(|header| header & 0x60 == 0)
    }

    /// The header of the first unit that is a slice.
    fn first_slice(self, picture: &[u8]) -> Option<u8> {
        let mut rest = picture;
        loop {
            let unit = match self {
                Self::StartCodes => {
                    let at = rest.windows(3).position(|bytes| bytes == [0, 0, 1])?;
                    rest = &rest[at + 3..];
                    rest
                }
                Self::Lengths(bytes) => {
                    let (length, after) = rest.split_at_checked(bytes)?;
                    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                    let (unit, after) = after.split_at_checked(length)?;
                    rest = after;
                    unit
                }
            };
            let header = *unit.first()?;
            if (1..=5).contains(&(header & 0x1f)) {
                return Some(header);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Supplemental information, then a slice with this header.
    const SEI: [u8; 3] = [0x06, 1, 2];

    fn with_lengths(slice: u8) -> Vec<u8> {
        [&[0, 0, 0, 3][..], &SEI, &[0, 0, 0, 2, slice, 9]].concat()
    }

    fn with_start_codes(slice: u8) -> Vec<u8> {
        [&[0, 0, 0, 1][..], &SEI, &[0, 0, 1, slice, 9]].concat()
    }

    #[test]
    fn a_slice_that_is_referred_to_says_so_in_either_layout() {
        for (header, disposable) in [(0x01, true), (0x21, false), (0x41, false), (0x65, false)] {
            let lengths = H264Layout::Lengths(4).is_disposable(&with_lengths(header));
            let codes = H264Layout::StartCodes.is_disposable(&with_start_codes(header));
            assert_eq!((lengths, codes), (disposable, disposable), "{header:#x}");
        }
    }

    #[test]
    fn what_cannot_be_read_might_be_referred_to() {
        assert!(!H264Layout::Lengths(4).is_disposable(&with_lengths(1)[..8]));
        assert!(!H264Layout::StartCodes.is_disposable(&SEI));
        assert!(!H264Layout::Lengths(4).is_disposable(&[]));
    }

    #[test]
    fn other_codecs_and_interlaced_video_have_no_layout() {
        gst::init().unwrap();
        let caps = |field: &str, value: &str| {
            gst::Caps::builder("video/x-h264")
                .field("alignment", "au")
                .field("stream-format", "byte-stream")
                .field(field, value)
                .build()
        };
        let layout = |field, value| H264Layout::of(&caps(field, value));
        assert_eq!(layout("interlace-mode", "progressive"), Some(H264Layout::StartCodes));
        assert_eq!(layout("coded-picture-structure", "frame"), Some(H264Layout::StartCodes));
        assert_eq!(layout("interlace-mode", "mixed"), None);
        assert_eq!(layout("coded-picture-structure", "field"), None);
        assert_eq!(layout("width", "unknown"), None);
        assert_eq!(H264Layout::of(&gst::Caps::builder("video/x-vp9").build()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(picture in proptest::collection::vec(any::<u8>(), 0..60)) {
            for layout in [H264Layout::StartCodes, H264Layout::Lengths(1), H264Layout::Lengths(4)] {
                layout.is_disposable(&picture);
            }
        }
    }
}
