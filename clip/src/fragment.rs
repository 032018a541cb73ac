//! Names of the files in which a camera's footage is kept.

use std::fmt;
use std::str::FromStr;

/// A fragment's file name: `<begins_ns>.mp4`, by the media time of its first picture.
///
/// All fragments of a camera lie in one folder, so their names are its table of contents: a fragment
/// ends, at the latest, where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentName {
    /// Media time of the first picture, in nanoseconds.
    pub begins_ns: u64,
    /// What the footage is kept in.
    pub container: Container,
}

/// What footage is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Container {
    /// Fragmented MP4 (ISO/IEC 14496-12).
    Mp4,
    /// Matroska (RFC 9559), for codecs that MP4 has no place for.
    Matroska,
}

impl Container {
    fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Matroska => "mkv",
        }
    }
}

impl fmt::Display for FragmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.begins_ns, self.container.extension())
    }
}

/// A file name that is not a fragment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not named as a fragment of footage is: `<nanoseconds>.mp4`")]
pub struct NoFragment;

impl FromStr for FragmentName {
    type Err = NoFragment;

    /// Reads exactly what `Display` writes.
    fn from_str(name: &str) -> Result<Self, NoFragment> {
        let (stem, extension) = name.split_once('.').ok_or(NoFragment)?;
        let container = [Container::Mp4, Container::Matroska]
            .into_iter()
            .find(|container| container.extension() == extension)
            .ok_or(NoFragment)?;
        let begins_ns = stem.parse().map_err(|_| NoFragment)?;
        let read = Self { begins_ns, container };
        if read.to_string() == name { Ok(read) } else { Err(NoFragment) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_fragments_own_name_is_read_as_one() {
        for other in [
            "",
            "1",
            "1.avi",
            "1.mp4.part",
            "01.mp4",
            "+1.mp4",
            "-1.mp4",
            "1e3.mp4",
            ".mp4",
            "18446744073709551616.mp4",
            "1.MP4",
            "١.mp4",
        ] {
            assert_eq!(other.parse::<FragmentName>(), Err(NoFragment), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_says_what_it_was_made_of(
            begins_ns in any::<u64>(),
            container in prop_oneof![Just(Container::Mp4), Just(Container::Matroska)],
        ) {
            let name = FragmentName { begins_ns, container };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn no_name_makes_it_fail(name in "\\PC{0,30}") {
            let read = name.parse::<FragmentName>();
            prop_assert!(read.is_err() || read.unwrap().to_string() == name);
        }
    }
}
