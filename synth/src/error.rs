//! What can go wrong while the world is made or filmed.

use std::path::PathBuf;

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The font whose pictures are the world's objects is not installed.
    #[error(
        "the emoji font NotoColorEmoji.ttf was found in none of {searched:?}; install the package fonts-noto-color-emoji, or set FOOTAGE_EMOJI_FONT to the file"
    )]
    FontMissing {
        /// The folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// The font file is not what its name promises.
    #[error("{path}: not a font with colour bitmaps: {why}")]
    FontUnusable {
        /// The font file.
        path: PathBuf,
        /// What the reader said.
        why: String,
    },
    /// The vocabulary names a picture that this version of the font lacks.
    #[error(
        "{path}: no colour bitmap for '{name}' (U+{codepoint:04X}); update fonts-noto-color-emoji"
    )]
    PictureMissing {
        /// The font file.
        path: PathBuf,
        /// The object's name.
        name: String,
        /// The object's character.
        codepoint: u32,
    },
    /// A picture in the font does not decode.
    #[error("{path}: the bitmap of '{name}' does not decode")]
    PictureBroken {
        /// The font file.
        path: PathBuf,
        /// The object's name.
        name: String,
        /// The decoder's error.
        source: image::ImageError,
    },
    /// A line of the object table is malformed.
    #[error("objects.tsv, line {line}: {why}")]
    Vocabulary {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Frames of this size cannot be encoded.
    #[error(
        "cannot encode frames of {width}x{height}: the width must be a multiple of 4 and the height of 2"
    )]
    OddSize {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// Every encoder that could be used is missing.
    #[error(
        "GStreamer has no video encoder of ours (openh264enc, x264enc, vp8enc, jpegenc); install gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad"
    )]
    NoEncoder,
    /// Encoding failed.
    #[error("{path}: encoding failed: {why}")]
    Encoding {
        /// The video, without its extension.
        path: PathBuf,
        /// What the encoder, or another element, said.
        why: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
