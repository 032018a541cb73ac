//! The parameter sets that a compressed picture carries: what follows can only be decoded with them.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Kinds of units that are parameter sets, and those that are slices: ISO/IEC 14496-10 table 7-1,
/// 23008-2 table 7-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    H264,
    H265,
}

impl Codec {
    fn kind(self, header: u8) -> u8 {
        match self {
            Self::H264 => header & 0x1f,
            Self::H265 => header >> 1 & 0x3f,
        }
    }

    fn is_parameters(self, kind: u8) -> bool {
        match self {
            Self::H264 => matches!(kind, 7 | 8 | 13 | 15),
            Self::H265 => matches!(kind, 32..=34),
        }
    }

    fn is_slice(self, kind: u8) -> bool {
        match self {
            Self::H264 => matches!(kind, 1..=5),
            Self::H265 => kind < 32,
        }
    }
}

/// How the units of a stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParameterSets {
    codec: Codec,
    /// Bytes of the length before each unit; none where start codes separate them.
    lengths: Option<usize>,
}

impl ParameterSets {
    /// None for codecs without them.
    pub(super) fn of(caps: &gst::CapsRef) -> Option<Self> {
        let fields = caps.structure(0)?;
        // Where the header tells the size of lengths: ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1.
        let (codec, at) = match fields.name().as_str() {
            "video/x-h264" => (Codec::H264, 4),
            "video/x-h265" => (Codec::H265, 21),
            _ => return None,
        };
        let lengths = if fields.get::<&str>("stream-format").ok()? == "byte-stream" {
            None
        } else {
            let header = fields.get::<gst::Buffer>("codec_data").ok()?;
            let header = header.map_readable().ok()?;
            Some(usize::from(header.get(at)? & 3) + 1)
        };
        Some(Self { codec, lengths })
    }

    /// A digest of the parameter sets before the first slice, if there are any.
    pub(super) fn digest(self, picture: &[u8]) -> Option<u64> {
        let mut digest = DefaultHasher::new();
        let mut any = false;
        let mut rest = picture;
        while let Some((unit, after)) = self.split(rest) {
            rest = after;
            let Some(kind) = unit.first().map(|header| self.codec.kind(*header)) else { continue };
            if self.codec.is_slice(kind) {
                break;
            }
            if self.codec.is_parameters(kind) {
                unit.hash(&mut digest);
                any = true;
            }
        }
        any.then(|| digest.finish())
    }

    /// The first unit, and what follows it. A slice, the last unit of interest, is not searched for its
    /// end.
    fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        if let Some(lengths) = self.lengths {
            let (length, after) = bytes.split_at_checked(lengths)?;
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            return after.split_at_checked(length);
        }
        let start = |bytes: &[u8]| bytes.windows(3).position(|code| code == [0, 0, 1]);
        let unit = &bytes[start(bytes)? + 3..];
        let is_slice =
            unit.first().is_some_and(|header| self.codec.is_slice(self.codec.kind(*header)));
        let end = if is_slice { unit.len() } else { start(unit).unwrap_or(unit.len()) };
        Some(unit.split_at(end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTE_STREAM: ParameterSets = ParameterSets { codec: Codec::H264, lengths: None };
    const LENGTHS: ParameterSets = ParameterSets { codec: Codec::H264, lengths: Some(2) };

    fn byte_stream(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 1][..], unit].concat()).collect()
    }

    #[test]
    fn only_what_parameter_sets_say_counts() {
        let (sps, pps) = (&[0x67, 1, 2][..], &[0x68, 3][..]);
        let of = |units: &[&[u8]]| BYTE_STREAM.digest(&byte_stream(units));
        let known = of(&[sps, pps, &[0x65, 9, 9]]);
        assert!(known.is_some());
        assert_eq!(of(&[&[0x09, 0xf0], sps, pps, &[0x06, 7], &[0x65, 8]]), known);
        assert_ne!(of(&[&[0x67, 1, 9], pps, &[0x65, 9]]), known);
        assert_eq!(of(&[&[0x65, 9], sps]), None, "after the slice is too late");
    }

    #[test]
    fn they_are_found_behind_lengths_too() {
        let picture = [0, 2, 0x67, 5, 0, 1, 0x65];
        assert!(LENGTHS.digest(&picture).is_some());
        assert_eq!(LENGTHS.digest(&picture[4..]), None);
        let hevc = ParameterSets { codec: Codec::H265, lengths: None };
        assert!(hevc.digest(&byte_stream(&[&[0x42, 1, 7], &[0x26, 1]])).is_some());
    }

    #[test]
    fn streams_say_how_they_are_divided() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-h264").field("stream-format", "byte-stream").build();
        assert_eq!(ParameterSets::of(&caps), Some(BYTE_STREAM));
        let header = gst::Buffer::from_slice([1, 2, 3, 4, 0xfd]);
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("codec_data", header)
            .build();
        assert_eq!(ParameterSets::of(&caps), Some(LENGTHS));
        assert_eq!(ParameterSets::of(&gst::Caps::new_empty_simple("image/jpeg")), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(picture in proptest::collection::vec(0_u8..3, 0..60)) {
            BYTE_STREAM.digest(&picture);
            LENGTHS.digest(&picture);
        }
    }
}
