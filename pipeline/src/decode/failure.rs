//! Why a file gives no pictures, or no more of them, in words for the person who has the file.

use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use gst::glib;

use super::container::Outside;

/// What is wrong with a file. Each says what it is and what to do, to be read after the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("is empty: its recording or copy never began, so copy it again")]
    Empty,
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A still picture.
    #[error("is a picture ({0}), not a video")]
    Picture(String),
    /// A list of other places to read from. They are never followed.
    #[error("is a playlist ({0}), not a video: name the files it lists instead")]
    Playlist(String),
    /// Text, a program, a document.
    #[error("is not a video but {0}")]
    NotVideo(String),
    /// Nothing recognises it.
    #[error(
        "is in no format that is known here: if a player shows it, convert it to MP4 or Matroska"
    )]
    UnknownFormat,
    /// A container without a video stream.
    #[error("has no video{}", also(.0))]
    NoVideo(Vec<&'static str>),
    /// It needs a key.
    #[error("is encrypted: index a copy without DRM")]
    Encrypted,
    /// No element for its container or codec.
    #[error("is {what}, which this installation of GStreamer cannot read: {remedy}")]
    NoElement {
        /// Container or codec.
        what: String,
        /// What to install, or do instead.
        remedy: String,
    },
    /// Beyond a limit of the settings. Refused before anything of that size is allocated.
    #[error(
        "has pictures of {width}x{height}, which is more than the {max_pixels} pixels allowed: \
         raise the limit to read it, or scale the video down"
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// A recording whose table of contents was never written.
    #[error(
        "was cut off before its table of contents (`moov`) was written: repair it with a tool such \
         as `untrunc`, or copy it again"
    )]
    NoTableOfContents,
    /// The beginning of a fragmented recording.
    #[error("holds only the header of a recording: join it with its segments")]
    HeaderOnly,
    /// It announces more than there is, and what there is gives nothing.
    #[error("was cut off before its first picture: copy it again")]
    CutOff,
    /// It announces more than there is.
    #[error("announces {:.1} s more, which are missing: copy it again, if there is a whole one", *.0 as f64 / 1e9)]
    CutShort(u64),
    /// Its structure makes no sense.
    #[error("is damaged ({0}): copy it again, or repair it")]
    Damaged(String),
    /// It was read to its end, and no picture came of it.
    #[error("gave no picture: what it holds as video could not be decoded")]
    NoPicture,
    /// Nothing happened for too long.
    #[error(
        "gave nothing new for {} s and was given up: raise the time allowed if its disk is slow, or \
         convert it",
        .0.as_secs()
    )]
    Stalled(Duration),
    /// This program's own graph does not work.
    #[error("cannot be decoded here: {0}")]
    Broken(String),
}

impl DecodeError {
    /// Whether reading the same bytes again would end the same way.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Unreadable(_) | Self::Stalled(_) | Self::NoElement { .. } | Self::Broken(_)
        )
    }

    /// The Debian package whose elements read a container or codec; none where no package does.
    pub fn package_for(format: &gst::CapsRef) -> Option<&'static str> {
        names(format).1
    }
}

fn also(others: &[&'static str]) -> String {
    match others {
        [] => ": no stream in it can be made out".to_owned(),
        others => format!(", only {}", others.join(" and ")),
    }
}

/// Refuses what is no file with something in it.
pub(super) fn check_readable(path: &Path) -> Result<(), DecodeError> {
    let unreadable = |error: std::io::Error| DecodeError::Unreadable(error.to_string());
    // Before it is opened: opening a pipe waits for somebody to write to it.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(DecodeError::Unreadable("it is no regular file".into()));
    }
    if metadata.len() == 0 {
        return Err(DecodeError::Empty);
    }
    fs::File::open(path).map(drop).map_err(unreadable)
}

/// Says in plain words what the outside of the file explains.
pub(super) fn refined(error: DecodeError, outside: Outside) -> DecodeError {
    use DecodeError::{Damaged, NoPicture, NoVideo, UnknownFormat};
    let is_vague = matches!(error, Damaged(_) | NoPicture | UnknownFormat)
        || matches!(&error, NoVideo(others) if others.is_empty());
    match outside.mp4 {
        Some(mp4) if is_vague && mp4.is_encrypted => DecodeError::Encrypted,
        Some(mp4) if is_vague && mp4.is_still => DecodeError::Picture("AVIF or HEIC".into()),
        Some(mp4) if is_vague && !mp4.has_table_of_contents => DecodeError::NoTableOfContents,
        Some(mp4) if is_vague && !mp4.has_content => DecodeError::HeaderOnly,
        _ if is_vague && outside.is_cut_short => DecodeError::CutOff,
        _ => error,
    }
}

/// An element is missing that only a broken installation lacks.
pub(crate) fn missing_element(name: &str) -> DecodeError {
    let package = match name {
        "deinterlace" | "videoflip" => GOOD,
        "filesrc" | "typefind" | "capsfilter" | "fakesink" => "libgstreamer1.0-0",
        _ => BASE,
    };
    DecodeError::Broken(format!("GStreamer lacks `{name}`: install {package}"))
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// What a person calls a container or codec, and the Debian package whose elements read it.
fn names(format: &gst::CapsRef) -> (String, Option<&'static str>) {
    let fields = format.structure(0);
    let media_type = fields.map_or("nothing", |fields| fields.name().as_str());
    let is_container =
        fields.is_some_and(|fields| fields.get("systemstream").is_ok_and(|is_one: bool| is_one));
    let (name, package) = match media_type {
        "video/quicktime" | "application/x-3gp" | "audio/x-m4a" => ("MP4 or QuickTime", GOOD),
        "video/x-matroska" | "video/webm" => ("Matroska or WebM", GOOD),
        "video/x-msvideo" => ("AVI", GOOD),
        "video/x-flv" => ("Flash video", GOOD),
        "application/ogg" => ("Ogg", BASE),
        "video/mpegts" => ("MPEG-TS", BAD),
        "video/mpeg" if is_container => ("MPEG-PS", BAD),
        "video/mpeg" => ("MPEG video", LIBAV),
        "application/mxf" => ("MXF", BAD),
        "video/x-ms-asf" => ("Windows Media", UGLY),
        "application/vnd.rn-realmedia" => ("RealMedia", UGLY),
        "video/x-h264" => ("H.264 video", LIBAV),
        "video/x-h265" => ("H.265 (HEVC) video", LIBAV),
        "video/x-h266" | "video/x-gst-fourcc-vvc1" | "video/x-gst-fourcc-vvi1" => {
            return ("H.266 (VVC) video".into(), None);
        }
        "video/x-av1" => ("AV1 video", BAD),
        "video/x-vp8" => ("VP8 video", GOOD),
        "video/x-vp9" => ("VP9 video", GOOD),
        "video/x-theora" => ("Theora video", BASE),
        "image/jpeg" => ("motion JPEG", GOOD),
        other if other.starts_with("video/x-") => {
            return (other["video/x-".len()..].into(), Some(LIBAV));
        }
        other => return (other.into(), None),
    };
    (name.into(), Some(package))
}

/// No element takes these caps.
pub(crate) fn no_element_for(caps: &gst::CapsRef) -> DecodeError {
    let (what, package) = names(caps);
    let remedy = match package.filter(|package| !is_installed(package)) {
        Some(package) => format!("install {package}"),
        None => "convert it, for example with `ffmpeg -i IN -c:v libx264 OUT.mp4`".to_owned(),
    };
    DecodeError::NoElement { what, remedy }
}

/// Whether a plugin is there that its package never lacks.
fn is_installed(package: &str) -> bool {
    let plugin = match package {
        BASE => "typefindfunctions",
        GOOD => "isomp4",
        BAD => "videoparsersbad",
        UGLY => "asf",
        LIBAV => "libav",
        _ => return false,
    };
    gst::Registry::get().find_plugin(plugin).is_some()
}

/// What an element's error message means.
pub(crate) fn of_message(error: &glib::Error) -> DecodeError {
    if let Some(stream) = error.kind::<gst::StreamError>() {
        return match stream {
            gst::StreamError::TypeNotFound => DecodeError::UnknownFormat,
            gst::StreamError::Decrypt | gst::StreamError::DecryptNokey => DecodeError::Encrypted,
            gst::StreamError::CodecNotFound => DecodeError::NoElement {
                what: "video of a codec unknown here".into(),
                remedy: "install gstreamer1.0-libav".into(),
            },
            _ => DecodeError::Damaged(one_line(error.message())),
        };
    }
    if error.kind::<gst::ResourceError>().is_some() {
        return DecodeError::Unreadable(one_line(error.message()));
    }
    DecodeError::Broken(one_line(error.message()))
}

/// `GStreamer` writes sentences; ours begin small, and do not end.
pub(crate) fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    let mut letters = line.chars();
    match letters.next() {
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_decoder_is_named_with_what_to_do() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-gst-fourcc-vvc1").build();
        let error = no_element_for(&caps).to_string();
        assert!(error.starts_with("is H.266 (VVC) video, which this installation"), "{error}");
        assert!(error.contains("ffmpeg -i"), "{error}");
    }

    #[test]
    fn the_package_named_is_the_one_that_reads_the_format() {
        gst::init().unwrap();
        for (format, package) in [
            ("video/x-av1", Some(BAD)),
            ("video/mpeg, mpegversion=2, systemstream=true", Some(BAD)),
            ("video/mpeg, mpegversion=2, systemstream=false", Some(LIBAV)),
            ("video/mpeg, mpegversion=4", Some(LIBAV)),
            ("video/x-prores", Some(LIBAV)),
            ("video/x-h266", None),
        ] {
            let caps: gst::Caps = format.parse().unwrap();
            assert_eq!(DecodeError::package_for(&caps), package, "{format}");
        }
    }

    #[test]
    fn a_package_that_is_there_already_is_not_recommended() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-av1").build();
        let is_there = gst::ElementFactory::find("tsdemux").is_some();
        let error = no_element_for(&caps).to_string();
        assert_eq!(error.contains("install gstreamer1.0-plugins-bad"), !is_there, "{error}");
        assert_eq!(error.contains("ffmpeg -i"), is_there, "{error}");
    }

    #[test]
    fn words_of_gstreamer_become_the_tail_of_a_sentence() {
        assert_eq!(one_line("Could not demultiplex stream."), "could not demultiplex stream");
        assert_eq!(one_line("GStreamer said\nmore"), "GStreamer said");
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn what_else_a_file_holds_is_said() {
        let nothing = DecodeError::NoVideo(vec![]).to_string();
        assert_eq!(nothing, "has no video: no stream in it can be made out");
        assert_eq!(DecodeError::NoVideo(vec!["sound"]).to_string(), "has no video, only sound");
    }
}
